"""Tables that map a name to an object as "module:object", imported only when the name is chosen."""

import importlib
from typing import Any


def import_object(place: str) -> Any:
    """Imports an object by its place in such a table: `"transformer.decoding.beam:beam_search"`."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
