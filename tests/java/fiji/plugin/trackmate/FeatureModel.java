package fiji.plugin.trackmate;

import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Features that are known, and those of tracks. */
public class FeatureModel
{
	private final Set< String > spots = new LinkedHashSet<>( List.of( "QUALITY", "POSITION_X", "POSITION_Y", "POSITION_Z", "POSITION_T", "FRAME", "RADIUS", "VISIBILITY" ) );

	final Map< String, Boolean > isInt = new HashMap<>( Map.of( "FRAME", true, "VISIBILITY", true ) );

	final Map< String, Map< Integer, Double > > ofTracks = new HashMap<>();

	public Collection< String > getSpotFeatures()
	{
		return spots;
	}

	public Map< String, Boolean > getSpotFeatureIsInt()
	{
		return isInt;
	}

	public Collection< String > getTrackFeatures()
	{
		return ofTracks.keySet();
	}

	public Double getTrackFeature( final Integer trackID, final String feature )
	{
		return ofTracks.get( feature ).get( trackID );
	}

	public void declareSpotFeatures( final Collection< String > features, final Map< String, String > featureNames, final Map< String, String > featureShortNames, final Map< String, Dimension > featureDimensions, final Map< String, Boolean > isIntFeature )
	{
		for ( final String feature : features )
		{
			final String name = featureNames.get( feature );
			final String shortName = featureShortNames.get( feature );
			final Dimension dimension = featureDimensions.get( feature );
			if ( name == null || shortName == null || dimension == null )
				throw new IllegalArgumentException( feature );
			isInt.put( feature, isIntFeature.get( feature ) );
		}
		spots.addAll( features );
	}
}
