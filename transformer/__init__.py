"""Train, measure and use translation Transformers in JAX."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformer.translator import Translation, Translator

__all__ = ["Translation", "Translator"]


def __getattr__(name: str) -> object:
    """`from transformer import Translator` imports JAX only then: commands that need no JAX start at once."""
    if name in __all__:
        from transformer import translator

        return getattr(translator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
