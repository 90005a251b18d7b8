"""Checks of a corpus: what is left out, and whether its sides are aligned."""
