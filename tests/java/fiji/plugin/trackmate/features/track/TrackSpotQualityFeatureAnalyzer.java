package fiji.plugin.trackmate.features.track;

public class TrackSpotQualityFeatureAnalyzer implements TrackAnalyzer
{}
