package fiji.plugin.trackmate.features.track;

public class TrackBranchingAnalyzer implements TrackAnalyzer
{}
