package fiji.plugin.trackmate;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

import org.jgrapht.graph.DefaultWeightedEdge;

/** Links as an undirected graph, and its connected parts: the tracks. */
public class TrackModel
{
	private final Map< DefaultWeightedEdge, Spot[] > ends = new LinkedHashMap<>();

	private final Map< Integer, Set< DefaultWeightedEdge > > tracks = new LinkedHashMap<>();

	final Set< Integer > visible = new HashSet<>();

	void setLinks( final List< Spot[] > links )
	{
		final Map< Spot, Integer > group = new HashMap<>();
		int next = 0;
		for ( final Spot[] link : links )
		{
			final Integer a = group.get( link[ 0 ] );
			final Integer b = group.get( link[ 1 ] );
			final int to = a != null ? a : b != null ? b : next++;
			if ( a != null && b != null && !a.equals( b ) )
				group.replaceAll( ( spot, number ) -> number.equals( b ) ? a : number );
			group.put( link[ 0 ], to );
			group.put( link[ 1 ], to );
		}
		for ( final Spot[] link : links )
		{
			final DefaultWeightedEdge edge = new DefaultWeightedEdge();
			// An undirected graph says nothing of time.
			ends.put( edge, new Spot[] { link[ 1 ], link[ 0 ] } );
			tracks.computeIfAbsent( group.get( link[ 0 ] ), n -> new LinkedHashSet<>() ).add( edge );
		}
		visible.addAll( tracks.keySet() );
	}

	public Set< Integer > trackIDs( final boolean visibleOnly )
	{
		final Set< Integer > ids = new LinkedHashSet<>( tracks.keySet() );
		if ( visibleOnly )
			ids.retainAll( visible );
		return ids;
	}

	public String name( final Integer trackID )
	{
		return "Track_" + trackID;
	}

	public Set< DefaultWeightedEdge > edgeSet()
	{
		return ends.keySet();
	}

	public Set< DefaultWeightedEdge > trackEdges( final Integer trackID )
	{
		return tracks.get( trackID );
	}

	public Set< Spot > trackSpots( final Integer trackID )
	{
		final Set< Spot > spots = new LinkedHashSet<>();
		for ( final DefaultWeightedEdge edge : trackEdges( trackID ) )
			spots.addAll( new ArrayList<>( List.of( ends.get( edge ) ) ) );
		return spots;
	}

	public Spot getEdgeSource( final DefaultWeightedEdge edge )
	{
		return ends.get( edge )[ 0 ];
	}

	public Spot getEdgeTarget( final DefaultWeightedEdge edge )
	{
		return ends.get( edge )[ 1 ];
	}
}
