"""Writes files and directories so that they are complete or absent, and verifies them."""
