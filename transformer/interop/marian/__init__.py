"""Imports and exports models of Hugging Face's class MarianMTModel."""
