package fiji.plugin.trackmate.detection;

import java.util.HashMap;
import java.util.Map;

public class ManualDetectorFactory< T > implements SpotDetectorFactoryBase< T >
{
	@Override
	public String getKey()
	{
		return "MANUAL_DETECTOR";
	}

	@Override
	public Map< String, Object > getDefaultSettings()
	{
		final Map< String, Object > settings = new HashMap<>();
		settings.put( "RADIUS", 5. );
		return settings;
	}
}
