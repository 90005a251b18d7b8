"""Export to other programs, and import of their models."""
