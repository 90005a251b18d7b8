"""Tables of objects that are imported only when they are needed: a table has the name "module:object" of each."""

import importlib
from typing import Any


def import_object(place: str) -> Any:
    """Imports the object at a place, such as `"transformer.data.formats.tsv:open_tsv"`."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
