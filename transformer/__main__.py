"""python -m transformer COMMAND ..."""

from transformer.cli.main import entry_point

entry_point()
