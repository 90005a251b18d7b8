"""Exports models to other programs, and imports models of other programs."""
