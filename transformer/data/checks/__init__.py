"""Checks of corpora and tokenizers, and the messages about their faults."""
