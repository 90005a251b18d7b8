"""The arguments and the results of a search."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self, TypeVar

import jax
import jax.numpy as jnp
from jax import Array


class Cache(Protocol):
    """The state of a step function for a set of hypotheses."""

    def reorder(self, parents_BK: Array) -> Self:
        """Returns the cache in which hypothesis k of each sentence continues the former hypothesis parents[k]."""
        ...


AnyCache = TypeVar("AnyCache", bound=Cache)

# tokens int [B, K], cache, position int [] -> logits of the next token float32 [B, K, V], cache
Step = Callable[[Array, AnyCache, Array], tuple[Array, AnyCache]]


class Symbols(NamedTuple):
    """The ids with a special meaning in the search."""

    start: int  # the first token given to the step function
    end: int  # ends a hypothesis
    never: tuple[int, ...]  # not text: a hypothesis never contains them


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hypotheses:
    """K token sequences per sentence; `beam_search` returns the best first. Ids after the end are -1."""

    tokens: Array  # int32 [B, K, L], the end symbol included
    lengths: Array  # int32 [B, K], the end symbol counted
    log_probabilities: Array  # float32 [B, K], of the whole sequence, natural logarithm; a forced end adds 0
    scores: Array  # float32 [B, K]; -inf if no hypothesis was found


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rules:
    """The rules of every search: which hypotheses are allowed, and how they are scored."""

    symbols: Symbols = field(metadata={"static": True})
    cache_length: int = field(metadata={"static": True})
    """L: the largest length limit that is possible"""
    min_length: int = field(metadata={"static": True})
    """the end symbol is forbidden before this number of text tokens"""
    max_lengths_B: Array
    """length limits, int32 [B]: the maximum number of tokens of each sentence, the end symbol counted"""
    length_penalty: Array
    """alpha, float32 []"""

    def score(self, log_probability: Array, length: Array) -> Array:
        """Returns log-probability / length ^ alpha. The length includes the end symbol.

        Marian, CTranslate2 and Hugging Face use the same score. If the length limit forces the end of a hypothesis, the
        forced end adds 1 to the length and 0 to the log-probability, as in CTranslate2 and Hugging Face.
        """
        return log_probability / length.astype(jnp.float32) ** self.length_penalty

    def next_log_probabilities(self, logits_BKV: Array, position: Array) -> Array:
        """Returns log softmax(logits) [B, K, V], with -inf for `symbols.never`, and for an end before `min_length`.

        If the length limit allows only one more token, the end symbol gets 0 (probability 1), and all others get -inf.
        """
        ids = jnp.arange(logits_BKV.shape[-1])
        is_end_V = ids == self.symbols.end
        never_V = jnp.isin(ids, jnp.array(self.symbols.never, jnp.int32))
        forbidden_V = never_V | (is_end_V & (position < self.min_length))
        next_BKV = jnp.where(forbidden_V, -jnp.inf, jax.nn.log_softmax(logits_BKV, axis=-1))
        is_last_B = position + 1 >= self.max_lengths_B
        return jnp.where(is_last_B[:, None, None], jnp.where(is_end_V, 0.0, -jnp.inf), next_BKV)
