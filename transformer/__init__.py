"""Train, evaluate and use translation Transformers in JAX."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformer.evaluation.metrics import evaluate
    from transformer.run.resume import load_config
    from transformer.run.trainer import train
    from transformer.translation.translator import Translation, Translator

__all__ = ["Translation", "Translator", "evaluate", "load_config", "train"]

_MODULES = {
    "Translation": "transformer.translation.translator",
    "Translator": "transformer.translation.translator",
    "evaluate": "transformer.evaluation.metrics",
    "load_config": "transformer.run.resume",
    "train": "transformer.run.trainer",
}


def __getattr__(name: str) -> object:
    """Imports a public name when it is used, so that commands that do not need JAX start immediately."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
