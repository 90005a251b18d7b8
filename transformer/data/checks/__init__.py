"""Checks of corpora, and the messages about their faults."""
