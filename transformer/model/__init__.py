"""ids -> scores."""
