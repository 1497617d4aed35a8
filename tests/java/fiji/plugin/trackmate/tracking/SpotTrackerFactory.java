package fiji.plugin.trackmate.tracking;

import java.util.Map;

public interface SpotTrackerFactory
{
	String getKey();

	Map< String, Object > getDefaultSettings();

	boolean checkSettingsValidity( Map< String, Object > settings );

	String getErrorMessage();
}
