"""One token after another, without looking back: greedy, or drawn at random."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

import jax
import jax.numpy as jnp
from jax import Array

from transformer.decoding.hypotheses import (
    AnyCache,
    Hypotheses,
    Step,
    Symbols,
    check_bounds,
    next_log_probabilities,
    score,
)

# log-probabilities [B, K, V], position int [] -> the chosen tokens int [B, K]
Choose = Callable[[Array, Array], Array]


def most_probable(log_probabilities_BKV: Array, position: Array) -> Array:
    """Greedy."""
    return log_probabilities_BKV.argmax(axis=-1)


@dataclass(frozen=True)
class Sampler:
    """Draw translations instead of searching for the best: see `Sampling`. Raises UsageError."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        check_bounds("temperature", self.temperature, 1e-6, 1e6)
        check_bounds("top_k", self.top_k, 0, 1 << 31)
        check_bounds("top_p", self.top_p, 1e-9, 1.0)
        check_bounds("seed", self.seed, 0, (1 << 31) - 1)

    def sampling(self, seed: Array, numbers_B: Array, places_B: Array) -> "Sampling":
        """For sentences that are parts of lines, by the numbers of the lines and the places of the parts in them.

        A line's first part has the key of the line, and the others one each: equal parts are drawn apart.
        """

        def key(number: Array, place: Array) -> Array:
            of_line = jax.random.fold_in(jax.random.key(seed), number)
            return jnp.where(place == 0, of_line, jax.random.fold_in(of_line, place))

        return Sampling(jax.vmap(key)(numbers_B, places_B), self.temperature, self.top_k, self.top_p)


@dataclass(frozen=True)
class Sampling:
    """Draws from the model's distribution, sharpened and cut.

    A draw depends on the sentence's own key, the hypothesis and the position: never on the other sentences.
    """

    keys: Array  # a random key a sentence [B]
    temperature: float = 1.0  # below 1: closer to greedy
    top_k: int = 0  # only among the k most probable tokens (Fan et al. 2018); 0: all
    top_p: float = 1.0  # only among the fewest tokens that hold this probability (Holtzman et al. 2020)

    def __call__(self, log_probabilities_BKV: Array, position: Array) -> Array:
        logits_BKV = log_probabilities_BKV / self.temperature
        ranked_BKV = -jnp.sort(-logits_BKV, axis=-1)
        least_BK = jnp.full(logits_BKV.shape[:2], -jnp.inf)
        if 0 < self.top_k < logits_BKV.shape[-1]:
            least_BK = jnp.maximum(least_BK, ranked_BKV[..., self.top_k - 1])
        if self.top_p < 1:
            before_BKV = jnp.cumsum(jax.nn.softmax(ranked_BKV, axis=-1), axis=-1) - jax.nn.softmax(ranked_BKV, axis=-1)
            kept_BKV = jnp.where(before_BKV < self.top_p, ranked_BKV, jnp.inf)
            least_BK = jnp.maximum(least_BK, kept_BKV.min(axis=-1))
        logits_BKV = jnp.where(logits_BKV >= least_BK[..., None], logits_BKV, -jnp.inf)

        def draw(key: Array, logits_KV: Array) -> Array:
            keys = jax.random.split(jax.random.fold_in(key, position), logits_KV.shape[0])
            return jax.vmap(jax.random.categorical)(keys, logits_KV)

        return jax.vmap(draw)(self.keys, logits_BKV)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SampleState(Generic[AnyCache]):
    """The generation between two steps."""

    position: Array  # int32 []
    last: Array  # int32 [B, K]
    is_open: Array  # bool [B, K]
    cache: AnyCache
    found: Hypotheses  # so far


def generate(
    step: Step[AnyCache],
    cache: AnyCache,
    limits_B: Array,
    symbols: Symbols,
    choose: Choose,
    *,
    count: int,
    length: int,
    shortest: int,
    length_penalty: Array,
) -> Hypotheses:
    """K = `count` independent hypotheses of each sentence, each token chosen by `choose`, to the end symbol.

    `limits`, `length`, `shortest` and the independence of sentences are as in `beam_search`; log-probabilities are the
    model's.
    """
    B = limits_B.shape[0]
    zeros = jnp.zeros((B, count))
    initial = SampleState(
        position=jnp.zeros((), jnp.int32),
        last=jnp.full((B, count), symbols.start, jnp.int32),
        is_open=jnp.ones((B, count), bool),
        cache=cache,
        found=Hypotheses(jnp.full((B, count, length), -1, jnp.int32), zeros.astype(jnp.int32), zeros, zeros),
    )

    def some_are_open(state: SampleState[AnyCache]) -> Array:
        return (state.position < length) & jnp.any(state.is_open)

    def extend(state: SampleState[AnyCache]) -> SampleState[AnyCache]:
        logits_BKV, cache = step(state.last, state.cache, state.position)
        next_BKV = next_log_probabilities(logits_BKV, symbols, state.position, shortest=shortest, limits_B=limits_B)
        chosen_BK = choose(next_BKV, state.position).astype(jnp.int32)
        gained_BK = jnp.take_along_axis(next_BKV, chosen_BK[..., None], axis=-1)[..., 0]
        shown_BK = jnp.where(state.is_open, chosen_BK, -1)
        log_probabilities = state.found.log_probabilities + jnp.where(state.is_open, gained_BK, 0.0)
        lengths = state.found.lengths + state.is_open.astype(jnp.int32)
        zero = jnp.zeros_like(state.position)  # of the same type, also where JAX counts in 64 bits
        tokens = jax.lax.dynamic_update_slice(state.found.tokens, shown_BK[..., None], (zero, zero, state.position))
        return SampleState(
            position=state.position + 1,
            last=chosen_BK,
            is_open=state.is_open & (chosen_BK != symbols.end),
            cache=cache,
            found=Hypotheses(tokens, lengths, log_probabilities, score(log_probabilities, lengths, length_penalty)),
        )

    return jax.lax.while_loop(some_are_open, extend, initial).found
