package fiji.plugin.trackmate.detection;

import java.util.Map;

public interface SpotDetectorFactoryBase< T >
{
	String getKey();

	Map< String, Object > getDefaultSettings();
}
