package fiji.plugin.trackmate.features.edges;

public class EdgeTimeLocationAnalyzer implements EdgeAnalyzer
{}
