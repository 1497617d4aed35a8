package fiji.plugin.trackmate.features.edges;

public interface EdgeAnalyzer
{
	default String getKey()
	{
		return getClass().getSimpleName();
	}
}
