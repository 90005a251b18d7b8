"""Attention: scores, masks, heads."""
