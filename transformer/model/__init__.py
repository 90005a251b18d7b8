"""Token ids -> logits."""
