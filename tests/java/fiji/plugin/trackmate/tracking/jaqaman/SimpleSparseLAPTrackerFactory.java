package fiji.plugin.trackmate.tracking.jaqaman;

public class SimpleSparseLAPTrackerFactory extends SparseLAPTrackerFactory
{
	@Override
	public String getKey()
	{
		return "SIMPLE_SPARSE_LAP_TRACKER";
	}
}
