package fiji.plugin.trackmate;

public class Model
{
	private final FeatureModel featureModel = new FeatureModel();

	private final TrackModel trackModel = new TrackModel();

	private SpotCollection spots = new SpotCollection();

	private Logger logger = new Logger.StringBuilderLogger();

	private String spaceUnits = "pixels";

	private String timeUnits = "frames";

	public void setLogger( final Logger logger )
	{
		this.logger = logger;
	}

	public Logger getLogger()
	{
		return logger;
	}

	public void setPhysicalUnits( final String spaceUnits, final String timeUnits )
	{
		this.spaceUnits = spaceUnits;
		this.timeUnits = timeUnits;
	}

	public String getSpaceUnits()
	{
		return spaceUnits;
	}

	public String getTimeUnits()
	{
		return timeUnits;
	}

	public void setSpots( final SpotCollection spots, final boolean doNotify )
	{
		this.spots = spots;
	}

	public SpotCollection getSpots()
	{
		return spots;
	}

	public TrackModel getTrackModel()
	{
		return trackModel;
	}

	public FeatureModel getFeatureModel()
	{
		return featureModel;
	}
}
