"""What a search needs and what it finds."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import NamedTuple, Protocol, Self, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from transformer.errors import UsageError


class Cache(Protocol):
    """What a step function remembers of its hypotheses."""

    def reorder(self, parents_BK: Array) -> Self:
        """The cache in which hypothesis k of each sentence continues what was hypothesis parents[k]."""
        ...


AnyCache = TypeVar("AnyCache", bound=Cache)

# tokens int [B, K], cache, position int [] -> logits of the next token float32 [B, K, V], cache
Step = Callable[[Array, AnyCache, Array], tuple[Array, AnyCache]]


class Symbols(NamedTuple):
    """The ids with a meaning to the search."""

    start: int  # given to the step function first
    end: int  # closes a hypothesis
    never: tuple[int, ...]  # ids that are no text, and are never found


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hypotheses:
    """Token sequences of each sentence. Negative ids stand after the end."""

    tokens: Array  # int32 [B, K, L], the end symbol included
    lengths: Array  # int32 [B, K], the end symbol counted
    log_probabilities: Array  # float32 [B, K], natural logarithm, of the whole sequence; an end that is forced counts 0
    scores: Array  # float32 [B, K]; -inf where nothing was found


def score(log_probability: Array, length: Array, length_penalty: Array) -> Array:
    """log-probability / length ^ alpha, the end symbol counted, as Marian, CTranslate2 and Hugging Face have it.

    Of a hypothesis that was cut at its limit the length counts the end that was forced there, and the log-probability
    does not: it is 0 for that end, as in Hugging Face and CTranslate2.
    """
    return log_probability / length.astype(jnp.float32) ** length_penalty


def check_bounds(name: str, value: float, least: float, most: float) -> None:
    """Raises UsageError for what is no number from `least` to `most`, or no whole one where those are whole."""
    kind = Integral if isinstance(least, int) else Real
    if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
        whole = "a whole number " if kind is Integral else ""
        raise UsageError(f"{name} = {value!r:.60}: must be {whole}from {least} to {most}")


def next_log_probabilities(
    logits_BKV: Array, symbols: Symbols, position: Array, *, shortest: int, limits_B: Array
) -> Array:
    """log softmax, and then -inf for `symbols.never`, and for the end before `shortest` tokens -> [B, K, V].

    Where the length limit leaves one token, that is the end: log 1 for it, and -inf for the others.
    """
    ids = jnp.arange(logits_BKV.shape[-1])
    is_end_V = ids == symbols.end
    forbidden_V = jnp.isin(ids, jnp.array(symbols.never, jnp.int32)) | (is_end_V & (position < shortest))
    next_BKV = jnp.where(forbidden_V, -jnp.inf, jax.nn.log_softmax(logits_BKV, axis=-1))
    is_last_B = position + 1 >= limits_B
    return jnp.where(is_last_B[:, None, None], jnp.where(is_end_V, 0.0, -jnp.inf), next_BKV)
