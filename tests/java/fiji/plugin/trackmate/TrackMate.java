package fiji.plugin.trackmate;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

import fiji.plugin.trackmate.features.FeatureFilter;

/**
 * Calls and order of TrackMate's own, with a tracker that links the nearest
 * pairs first: enough for cells that lie further apart than they move.
 */
public class TrackMate
{
	public static final String PLUGIN_NAME_VERSION = "7.0.0-double";

	private final Model model;

	private final Settings settings;

	private String errorMessage;

	private int numThreads;

	public TrackMate( final Model model, final Settings settings )
	{
		this.model = model;
		this.settings = settings;
	}

	public void setNumThreads( final int numThreads )
	{
		this.numThreads = numThreads;
	}

	public String getErrorMessage()
	{
		return errorMessage;
	}

	public boolean execInitialSpotFiltering()
	{
		model.getSpots().filter( List.of( new FeatureFilter( "QUALITY", settings.initialSpotFilterValue, true ) ) );
		model.getSpots().crop();
		return true;
	}

	public boolean execSpotFiltering( final boolean doLogIt )
	{
		model.getSpots().filter( settings.getSpotFilters() );
		return true;
	}

	public boolean execTracking()
	{
		model.getLogger().log( "Starting tracking process.\n" );
		final SpotCollection spots = model.getSpots();
		if ( spots.getNSpots( true ) == 0 )
		{
			errorMessage = "Tracking process failed:\nThe spot collection is empty.";
			return false;
		}
		final Map< String, Object > given = settings.trackerSettings;
		final List< Spot[] > links = new ArrayList<>();
		final Set< Spot > left = new HashSet<>();
		final Set< Spot > reached = new HashSet<>();
		final List< Integer > frames = new ArrayList<>( spots.keySet() );
		for ( int i = 1; i < frames.size(); i++ )
			link( frames.get( i - 1 ), frames.get( i ), ( Double ) given.get( "LINKING_MAX_DISTANCE" ), left, reached, links );
		if ( ( Boolean ) given.get( "ALLOW_GAP_CLOSING" ) )
			for ( int gap = 2; gap <= ( Integer ) given.get( "MAX_FRAME_GAP" ); gap++ )
				for ( final int frame : frames )
					if ( spots.keySet().contains( frame + gap ) )
						link( frame, frame + gap, ( Double ) given.get( "GAP_CLOSING_MAX_DISTANCE" ), left, reached, links );
		if ( ( Boolean ) given.get( "ALLOW_TRACK_SPLITTING" ) )
			for ( int i = 1; i < frames.size(); i++ )
				link( frames.get( i - 1 ), frames.get( i ), ( Double ) given.get( "SPLITTING_MAX_DISTANCE" ), new HashSet<>(), reached, links );
		model.getTrackModel().setLinks( links );
		return true;
	}

	private void link( final int from, final int to, final double limit, final Set< Spot > left, final Set< Spot > reached, final List< Spot[] > links )
	{
		final List< Spot[] > pairs = new ArrayList<>();
		for ( final Spot a : model.getSpots().iterable( from, true ) )
			for ( final Spot b : model.getSpots().iterable( to, true ) )
				if ( a.squareDistanceTo( b ) <= limit * limit )
					pairs.add( new Spot[] { a, b } );
		pairs.sort( Comparator.comparingDouble( pair -> pair[ 0 ].squareDistanceTo( pair[ 1 ] ) ) );
		for ( final Spot[] pair : pairs )
			if ( !left.contains( pair[ 0 ] ) && !reached.contains( pair[ 1 ] ) )
			{
				left.add( pair[ 0 ] );
				reached.add( pair[ 1 ] );
				links.add( pair );
			}
	}

	public boolean computeEdgeFeatures( final boolean doLogIt )
	{
		return !settings.edgeAnalyzers.isEmpty();
	}

	public boolean computeTrackFeatures( final boolean doLogIt )
	{
		final Map< Integer, Double > sizes = new HashMap<>();
		for ( final Integer track : model.getTrackModel().trackIDs( false ) )
			sizes.put( track, ( double ) model.getTrackModel().trackSpots( track ).size() );
		model.getFeatureModel().ofTracks.put( "NUMBER_SPOTS", sizes );
		return !settings.trackAnalyzers.isEmpty();
	}

	public boolean execTrackFiltering( final boolean doLogIt )
	{
		for ( final Integer track : model.getTrackModel().trackIDs( false ) )
			for ( final FeatureFilter filter : settings.getTrackFilters() )
				if ( !filter.passes( model.getFeatureModel().getTrackFeature( track, filter.feature ) ) )
					model.getTrackModel().visible.remove( track );
		return true;
	}
}
