package fiji.plugin.trackmate.features.track;

public class TrackDurationAnalyzer implements TrackAnalyzer
{}
