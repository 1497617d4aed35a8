package fiji.plugin.trackmate;

/** The part of TrackMate's logger that is called. */
public abstract class Logger
{
	public abstract void log( String message );

	public static class StringBuilderLogger extends Logger
	{
		private final StringBuilder text = new StringBuilder();

		@Override
		public void log( final String message )
		{
			text.append( message );
		}

		@Override
		public String toString()
		{
			return text.toString();
		}
	}
}
