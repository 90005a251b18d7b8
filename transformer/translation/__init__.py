"""Lines -> translations."""
