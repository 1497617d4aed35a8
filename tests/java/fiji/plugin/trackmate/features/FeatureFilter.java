package fiji.plugin.trackmate.features;

public class FeatureFilter
{
	public final String feature;

	public final double value;

	public final boolean isAbove;

	public FeatureFilter( final String feature, final double value, final boolean isAbove )
	{
		this.feature = feature;
		this.value = value;
		this.isAbove = isAbove;
	}

	public boolean passes( final double number )
	{
		return isAbove ? !( number < value ) : !( number > value );
	}
}
