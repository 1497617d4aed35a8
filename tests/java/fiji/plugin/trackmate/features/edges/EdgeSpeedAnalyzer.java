package fiji.plugin.trackmate.features.edges;

public class EdgeSpeedAnalyzer implements EdgeAnalyzer
{}
