"""Replaces files and directories only when the new content is complete, and verifies their content."""
