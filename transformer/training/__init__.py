"""scores -> better scores."""
