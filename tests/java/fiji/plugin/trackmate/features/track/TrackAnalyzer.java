package fiji.plugin.trackmate.features.track;

public interface TrackAnalyzer
{
	default String getKey()
	{
		return getClass().getSimpleName();
	}
}
