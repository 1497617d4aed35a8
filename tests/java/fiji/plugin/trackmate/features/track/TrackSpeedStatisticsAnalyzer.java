package fiji.plugin.trackmate.features.track;

public class TrackSpeedStatisticsAnalyzer implements TrackAnalyzer
{}
