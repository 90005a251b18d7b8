"""Ids -> logits."""
