"""Formats of corpora, one file each. The table FORMATS in data/corpus.py lists them."""
