"""What a search needs and what it finds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self, TypeVar

import jax
import jax.numpy as jnp
from jax import Array


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
    log_probabilities: Array  # float32 [B, K], natural logarithm, of the whole sequence
    scores: Array  # float32 [B, K]; -inf where nothing was found


def score(log_probability: Array, length: Array, length_penalty: Array) -> Array:
    """log-probability / length ^ alpha, the end symbol counted, as Marian, CTranslate2 and Hugging Face have it."""
    return log_probability / length.astype(jnp.float32) ** length_penalty


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
