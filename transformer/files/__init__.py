"""Replaces files and directories when the new content is complete, and verifies them."""
