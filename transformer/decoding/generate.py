"""Generation token by token, without search: greedy decoding or sampling (sampling.py)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

import jax
import jax.numpy as jnp
from jax import Array

from transformer.decoding.hypotheses import AnyCache, Hypotheses, Rules, Step

# log-probabilities [B, K, V], position int [] -> the chosen tokens int [B, K]
Choose = Callable[[Array, Array], Array]


def most_probable(log_probabilities_BKV: Array, position: Array) -> Array:
    """Chooses the most probable token: greedy decoding."""
    return log_probabilities_BKV.argmax(axis=-1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GenerationState(Generic[AnyCache]):
    """The state of the generation between two steps."""

    position: Array  # int32 []
    last: Array  # int32 [B, K]
    is_open: Array  # bool [B, K]
    cache: AnyCache
    hypotheses: Hypotheses


def generate(step: Step[AnyCache], cache: AnyCache, rules: Rules, choose: Choose, *, count: int) -> Hypotheses:
    """Returns K = `count` independent hypotheses of each sentence, each token chosen by `choose`, until the end symbol.

    The log-probabilities of the result are those of the model, before temperature, top-k and top-p.
    """

    def is_generating(state: GenerationState[AnyCache]) -> Array:
        return (state.position < rules.cache_length) & jnp.any(state.is_open)

    def extend(state: GenerationState[AnyCache]) -> GenerationState[AnyCache]:
        before = state.hypotheses
        logits_BKV, cache = step(state.last, state.cache, state.position)
        next_BKV = rules.next_log_probabilities(logits_BKV, state.position)
        chosen_BK = choose(next_BKV, state.position).astype(jnp.int32)
        added_BK = jnp.take_along_axis(next_BKV, chosen_BK[..., None], axis=-1)[..., 0]
        tokens_BK = jnp.where(state.is_open, chosen_BK, -1)
        log_probabilities = before.log_probabilities + jnp.where(state.is_open, added_BK, 0.0)
        lengths = before.lengths + state.is_open.astype(jnp.int32)
        zero = jnp.zeros_like(state.position)  # of the same dtype, also if JAX uses 64 bits
        tokens = jax.lax.dynamic_update_slice(before.tokens, tokens_BK[..., None], (zero, zero, state.position))
        scores = rules.score(log_probabilities, lengths)
        hypotheses = Hypotheses(tokens, lengths, log_probabilities, scores)
        is_open = state.is_open & (chosen_BK != rules.symbols.end)
        return GenerationState(state.position + 1, chosen_BK, is_open, cache, hypotheses)

    shape = (len(rules.max_lengths_B), count)
    zeros = jnp.zeros(shape)
    empty = Hypotheses(jnp.full((*shape, rules.cache_length), -1, jnp.int32), zeros.astype(jnp.int32), zeros, zeros)
    start = jnp.full(shape, rules.symbols.start, jnp.int32)
    initial = GenerationState(jnp.zeros((), jnp.int32), start, jnp.ones(shape, bool), cache, empty)
    return jax.lax.while_loop(is_generating, extend, initial).hypotheses
