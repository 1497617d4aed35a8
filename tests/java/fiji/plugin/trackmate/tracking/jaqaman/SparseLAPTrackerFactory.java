package fiji.plugin.trackmate.tracking.jaqaman;

import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;

import fiji.plugin.trackmate.tracking.SpotTrackerFactory;

/** Settings of TrackMate's LAP trackers: keys and classes are checked as TrackMate does. */
public class SparseLAPTrackerFactory implements SpotTrackerFactory
{
	private String errorMessage;

	@Override
	public String getKey()
	{
		return "SPARSE_LAP_TRACKER";
	}

	@Override
	public Map< String, Object > getDefaultSettings()
	{
		final Map< String, Object > settings = new HashMap<>();
		settings.put( "LINKING_MAX_DISTANCE", 15. );
		settings.put( "LINKING_FEATURE_PENALTIES", new HashMap<>() );
		settings.put( "ALLOW_GAP_CLOSING", true );
		settings.put( "MAX_FRAME_GAP", 2 );
		settings.put( "GAP_CLOSING_MAX_DISTANCE", 15. );
		settings.put( "GAP_CLOSING_FEATURE_PENALTIES", new HashMap<>() );
		settings.put( "ALLOW_TRACK_SPLITTING", false );
		settings.put( "SPLITTING_MAX_DISTANCE", 15. );
		settings.put( "SPLITTING_FEATURE_PENALTIES", new HashMap<>() );
		settings.put( "ALLOW_TRACK_MERGING", false );
		settings.put( "MERGING_MAX_DISTANCE", 15. );
		settings.put( "MERGING_FEATURE_PENALTIES", new HashMap<>() );
		settings.put( "BLOCKING_VALUE", Double.POSITIVE_INFINITY );
		settings.put( "ALTERNATIVE_LINKING_COST_FACTOR", 1.05 );
		settings.put( "CUTOFF_PERCENTILE", 0.9 );
		return settings;
	}

	@Override
	public boolean checkSettingsValidity( final Map< String, Object > settings )
	{
		final StringBuilder errors = new StringBuilder();
		final Map< String, Object > defaults = new TreeMap<>( getDefaultSettings() );
		for ( final String key : defaults.keySet() )
		{
			final Class< ? > expected = defaults.get( key ).getClass();
			final Object value = settings.get( key );
			if ( !expected.isInstance( value ) )
				errors.append( "Value for parameter " + key + " is not of the right class. Expected " + expected + ", got " + ( value == null ? null : value.getClass() ) + ".\n" );
		}
		for ( final String key : settings.keySet() )
			if ( !defaults.containsKey( key ) )
				errors.append( "Map contains unexpected key: " + key + ".\n" );
		errorMessage = errors.toString();
		return errorMessage.isEmpty();
	}

	@Override
	public String getErrorMessage()
	{
		return errorMessage;
	}
}
