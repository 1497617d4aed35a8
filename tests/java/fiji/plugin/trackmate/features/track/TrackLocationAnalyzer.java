package fiji.plugin.trackmate.features.track;

public class TrackLocationAnalyzer implements TrackAnalyzer
{}
