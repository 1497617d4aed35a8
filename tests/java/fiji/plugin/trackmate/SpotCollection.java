package fiji.plugin.trackmate;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.NavigableSet;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListMap;

import fiji.plugin.trackmate.features.FeatureFilter;

/** Spots by frame; those that are not visible are not tracked. */
public class SpotCollection
{
	private final ConcurrentSkipListMap< Integer, Set< Spot > > content = new ConcurrentSkipListMap<>();

	public void add( final Spot spot, final Integer frame )
	{
		content.computeIfAbsent( frame, f -> new HashSet<>() ).add( spot );
		spot.putFeature( Spot.FRAME, Double.valueOf( frame ) );
		spot.putFeature( "VISIBILITY", 1. );
	}

	public void put( final int frame, final Collection< Spot > spots )
	{
		content.put( frame, new HashSet<>( spots ) );
	}

	public NavigableSet< Integer > keySet()
	{
		return content.keySet();
	}

	public final int getNSpots( final boolean visibleSpotsOnly )
	{
		int n = 0;
		for ( final Spot spot : iterable( visibleSpotsOnly ) )
			n++;
		return n;
	}

	public int getNSpots( final int frame, final boolean visibleSpotsOnly )
	{
		return list( frame, visibleSpotsOnly ).size();
	}

	public Iterable< Spot > iterable( final boolean visibleSpotsOnly )
	{
		final List< Spot > all = new ArrayList<>();
		for ( final int frame : keySet() )
			all.addAll( list( frame, visibleSpotsOnly ) );
		return all;
	}

	public Iterable< Spot > iterable( final int frame, final boolean visibleSpotsOnly )
	{
		return list( frame, visibleSpotsOnly );
	}

	public Iterator< Spot > iterator( final int frame, final boolean visibleSpotsOnly )
	{
		return list( frame, visibleSpotsOnly ).iterator();
	}

	private List< Spot > list( final int frame, final boolean visibleSpotsOnly )
	{
		final List< Spot > found = new ArrayList<>();
		for ( final Spot spot : content.get( frame ) )
			if ( !visibleSpotsOnly || spot.getFeature( "VISIBILITY" ) > 0 )
				found.add( spot );
		return found;
	}

	public final void filter( final Collection< FeatureFilter > filters )
	{
		for ( final Spot spot : iterable( false ) )
		{
			boolean visible = true;
			for ( final FeatureFilter filter : filters )
				visible &= filter.passes( spot.getFeature( filter.feature ) );
			spot.putFeature( "VISIBILITY", visible ? 1. : 0. );
		}
	}

	public void crop()
	{
		for ( final Set< Spot > spots : content.values() )
			spots.removeIf( spot -> spot.getFeature( "VISIBILITY" ) <= 0 );
	}
}
