"""Logits -> hypotheses. The search calls a step function, and does not depend on a model."""
