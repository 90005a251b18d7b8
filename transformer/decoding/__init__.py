"""Logits -> hypotheses. Knows a step function, never a model."""
