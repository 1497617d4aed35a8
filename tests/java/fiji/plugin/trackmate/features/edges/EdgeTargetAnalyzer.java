package fiji.plugin.trackmate.features.edges;

public class EdgeTargetAnalyzer implements EdgeAnalyzer
{}
