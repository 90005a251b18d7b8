"""Reads files of torch.save without PyTorch."""
