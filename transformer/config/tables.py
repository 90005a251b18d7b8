"""Imports an object by its name "module:object" from a table, so that it is imported only when it is needed."""

import importlib
from typing import Any


def import_object(place: str) -> Any:
    """Imports the object at a place, such as `"transformer.data.formats.tsv:open_tsv"`."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
