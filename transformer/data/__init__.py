"""Text -> token ids -> batches."""
