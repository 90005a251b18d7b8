"""Imports an object that a table names as "module:object", only when it is needed."""

import importlib
from typing import Any


def import_object(place: str) -> Any:
    """Imports an object by its place, such as `"transformer.data.formats.tsv:open_tsv"`."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
