package fiji.plugin.trackmate;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

import fiji.plugin.trackmate.detection.SpotDetectorFactoryBase;
import fiji.plugin.trackmate.features.FeatureFilter;
import fiji.plugin.trackmate.features.edges.EdgeAnalyzer;
import fiji.plugin.trackmate.features.track.TrackAnalyzer;
import fiji.plugin.trackmate.tracking.SpotTrackerFactory;
import ij.ImagePlus;

public class Settings
{
	public final ImagePlus imp;

	public double dt = 1.;

	public double dx = 1.;

	public double dy = 1.;

	public double dz = 1.;

	public int width;

	public int height;

	public int nslices;

	public int nframes;

	public String imageFolder = "";

	public String imageFileName = "";

	public int tstart;

	public int tend;

	public int zstart;

	public int zend;

	public SpotDetectorFactoryBase< ? > detectorFactory;

	public SpotTrackerFactory trackerFactory;

	public Map< String, Object > detectorSettings = new HashMap<>();

	public Map< String, Object > trackerSettings = new HashMap<>();

	public Double initialSpotFilterValue = Double.valueOf( 0 );

	private final List< FeatureFilter > spotFilters = new ArrayList<>();

	private final List< FeatureFilter > trackFilters = new ArrayList<>();

	final List< EdgeAnalyzer > edgeAnalyzers = new ArrayList<>();

	final List< TrackAnalyzer > trackAnalyzers = new ArrayList<>();

	public Settings()
	{
		this( null );
	}

	public Settings( final ImagePlus imp )
	{
		this.imp = imp;
	}

	public void addSpotFilter( final FeatureFilter filter )
	{
		spotFilters.add( filter );
	}

	public List< FeatureFilter > getSpotFilters()
	{
		return spotFilters;
	}

	public void addTrackFilter( final FeatureFilter filter )
	{
		trackFilters.add( filter );
	}

	public List< FeatureFilter > getTrackFilters()
	{
		return trackFilters;
	}

	public void addEdgeAnalyzer( final EdgeAnalyzer edgeAnalyzer )
	{
		edgeAnalyzers.add( edgeAnalyzer );
	}

	public void addTrackAnalyzer( final TrackAnalyzer trackAnalyzer )
	{
		trackAnalyzers.add( trackAnalyzer );
	}
}
