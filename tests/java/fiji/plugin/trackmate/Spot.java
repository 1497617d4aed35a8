package fiji.plugin.trackmate;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** A spot of TrackMate 7: its features are never null. */
public class Spot
{
	public static final String FRAME = "FRAME";

	private final int id;

	private final Map< String, Double > features = new ConcurrentHashMap<>();

	private String name;

	public Spot( final double x, final double y, final double z, final double radius, final double quality, final String name )
	{
		throw new UnsupportedOperationException( "gives an ID of its own" );
	}

	public Spot( final int ID )
	{
		id = ID;
	}

	public int ID()
	{
		return id;
	}

	public void setName( final String name )
	{
		this.name = name;
	}

	public String getName()
	{
		return name;
	}

	public Map< String, Double > getFeatures()
	{
		return features;
	}

	public final Double getFeature( final String feature )
	{
		return features.get( feature );
	}

	public final void putFeature( final String feature, final Double value )
	{
		features.put( feature, value );
	}

	public double squareDistanceTo( final Spot other )
	{
		double sum = 0;
		for ( final String axis : new String[] { "POSITION_X", "POSITION_Y", "POSITION_Z" } )
			sum += Math.pow( getFeature( axis ) - other.getFeature( axis ), 2 );
		return sum;
	}

	@Override
	public int hashCode()
	{
		return id;
	}

	@Override
	public boolean equals( final Object other )
	{
		return other instanceof Spot && ( ( Spot ) other ).id == id;
	}
}
