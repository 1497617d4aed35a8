package fiji.plugin.trackmate.features.track;

public class TrackIndexAnalyzer implements TrackAnalyzer
{}
