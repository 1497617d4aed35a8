package fiji.plugin.trackmate.io;

import java.io.File;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.nio.file.Files;
import java.util.Map;

import org.jgrapht.graph.DefaultWeightedEdge;

import fiji.plugin.trackmate.Model;
import fiji.plugin.trackmate.Settings;
import fiji.plugin.trackmate.Spot;
import fiji.plugin.trackmate.TrackMate;
import fiji.plugin.trackmate.TrackModel;

/** Writes what a reader of TrackMate files needs. */
public class TmXmlWriter
{
	private final File file;

	private final StringBuilder text = new StringBuilder();

	public TmXmlWriter( final File file )
	{
		this.file = file;
		text.append( "<TrackMate version=\"" + TrackMate.PLUGIN_NAME_VERSION + "\">" );
	}

	public void appendLog( final String log )
	{
		text.append( "<Log>" + log + "</Log>" );
	}

	public void appendModel( final Model model )
	{
		text.append( "<Model spatialunits=\"" + model.getSpaceUnits() + "\" timeunits=\"" + model.getTimeUnits() + "\"><AllSpots nspots=\"" + model.getSpots().getNSpots( false ) + "\">" );
		for ( final int frame : model.getSpots().keySet() )
		{
			text.append( "<SpotsInFrame frame=\"" + frame + "\">" );
			for ( final Spot spot : model.getSpots().iterable( frame, false ) )
			{
				text.append( "<Spot ID=\"" + spot.ID() + "\" name=\"" + spot.getName() + "\"" );
				for ( final Map.Entry< String, Double > feature : spot.getFeatures().entrySet() )
				{
					final boolean whole = model.getFeatureModel().getSpotFeatureIsInt().getOrDefault( feature.getKey(), false );
					text.append( " " + feature.getKey() + "=\"" + ( whole ? "" + feature.getValue().intValue() : feature.getValue() ) + "\"" );
				}
				text.append( "/>" );
			}
			text.append( "</SpotsInFrame>" );
		}
		text.append( "</AllSpots><AllTracks>" );
		final TrackModel tracks = model.getTrackModel();
		for ( final Integer track : tracks.trackIDs( false ) )
		{
			text.append( "<Track name=\"" + tracks.name( track ) + "\" TRACK_ID=\"" + track + "\">" );
			for ( final DefaultWeightedEdge edge : tracks.trackEdges( track ) )
				text.append( "<Edge SPOT_SOURCE_ID=\"" + tracks.getEdgeSource( edge ).ID() + "\" SPOT_TARGET_ID=\"" + tracks.getEdgeTarget( edge ).ID() + "\"/>" );
			text.append( "</Track>" );
		}
		text.append( "</AllTracks></Model>" );
	}

	public void appendSettings( final Settings s )
	{
		text.append( "<Settings><ImageData filename=\"\" folder=\"\" width=\"" + s.width + "\" height=\"" + s.height + "\" nslices=\"" + s.nslices + "\" nframes=\"" + s.nframes + "\" pixelwidth=\"" + s.dx + "\" pixelheight=\"" + s.dy + "\" voxeldepth=\"" + s.dz + "\" timeinterval=\"" + s.dt + "\"/>" );
		text.append( "<DetectorSettings DETECTOR_NAME=\"" + s.detectorFactory.getKey() + "\"/><TrackerSettings TRACKER_NAME=\"" + s.trackerFactory.getKey() + "\"/></Settings>" );
	}

	public void appendGUIState( final String currentPanelIdentifier )
	{
		text.append( "<GUIState state=\"" + currentPanelIdentifier + "\"/>" );
	}

	public void writeToFile() throws FileNotFoundException, IOException
	{
		Files.writeString( file.toPath(), text + "</TrackMate>" );
	}
}
