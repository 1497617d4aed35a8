"""Writers and readers of other programs' track formats; nothing here knows a stage."""
