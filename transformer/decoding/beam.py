"""Beam search to the end of the sentence."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

import jax
import jax.numpy as jnp
from jax import Array

from transformer.decoding.hypotheses import AnyCache, Hypotheses, Step, Symbols, next_log_probabilities, score
from transformer.decoding.top import top_k

# finished hypotheses, log-probability of the best open one [B], its tokens [], limits [B], length penalty -> bool [B]
Stop = Callable[[Hypotheses, Array, Array, Array, Array], Array]


def when_full(finished: Hypotheses, best_B: Array, length: Array, limits_B: Array, length_penalty: Array) -> Array:
    """As soon as K have finished: fairseq, CTranslate2, `early_stopping=True` of Hugging Face."""
    return finished.scores[:, -1] > -jnp.inf


def when_unlikely(finished: Hypotheses, best_B: Array, length: Array, limits_B: Array, length_penalty: Array) -> Array:
    """When K have finished, and the best open one is worse by now: `early_stopping=False` of Hugging Face."""
    return finished.scores[:, -1] >= score(best_B, length, length_penalty)


def when_certain(finished: Hypotheses, best_B: Array, length: Array, limits_B: Array, length_penalty: Array) -> Array:
    """When K have finished, and no open one can become better, however long: `early_stopping="never"` there."""
    return finished.scores[:, -1] >= score(best_B, limits_B, length_penalty)


STOPS: dict[str, Stop] = {"full": when_full, "unlikely": when_unlikely, "certain": when_certain}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BeamState(Generic[AnyCache]):
    """The search between two steps."""

    position: Array  # int32 [], tokens an open hypothesis has
    tokens: Array  # int32 [B, K, L], open hypotheses so far
    log_probabilities: Array  # float32 [B, K], of the open hypotheses; -inf: none, or the sentence is done
    cache: AnyCache
    finished: Hypotheses  # the K best that have ended, best first


def beam_search(
    step: Step[AnyCache],
    cache: AnyCache,
    limits_B: Array,
    symbols: Symbols,
    *,
    beams: int,
    length: int,
    shortest: int,
    length_penalty: Array,
    stop: Stop,
    n_best: int = 1,
) -> Hypotheses:
    """The `n_best` best hypotheses of each sentence that a beam of K = `beams` finds, best first.

    At each step the K open hypotheses are continued by every token. Of the 2K most probable continuations, those that
    end the sentence and are among the first K are finished; the first K others stay open (K of them exist, since each
    hypothesis ends in one way only). A sentence is done when `stop` says so.
    `limits` is the most tokens of each sentence, the end symbol counted, and at most L = `length`: at the limit the end
    symbol follows, whatever the model says. It does not before `shortest` tokens of text. What is found for a sentence
    does not depend on the other sentences.
    """

    def some_are_open(state: BeamState[AnyCache]) -> Array:
        return (state.position < length) & jnp.any(state.log_probabilities > -jnp.inf)

    def search(state: BeamState[AnyCache]) -> BeamState[AnyCache]:
        last_BK = jnp.take(state.tokens, jnp.maximum(state.position - 1, 0), axis=2)
        last_BK = jnp.where(state.position == 0, symbols.start, last_BK)
        logits_BKV, cache = step(last_BK, state.cache, state.position)
        next_BKV = next_log_probabilities(logits_BKV, symbols, state.position, shortest=shortest, limits_B=limits_B)
        candidates = _best_continuations(state, next_BKV)
        finished = _finish(state.finished, candidates, symbols.end, state.position + 1, length_penalty)

        # Ranks of the first K candidates that go on.
        goes_on = candidates.last_BJ != symbols.end
        ranks_BK = jnp.argsort(~goes_on, axis=1, stable=True)[:, :beams]
        log_probabilities = jnp.take_along_axis(candidates.log_probabilities_BJ, ranks_BK, axis=1)
        is_done_B = stop(finished, log_probabilities[:, 0], state.position + 1, limits_B, length_penalty)
        return BeamState(
            position=state.position + 1,
            tokens=jnp.take_along_axis(candidates.tokens_BJL, ranks_BK[:, :, None], axis=1),
            log_probabilities=jnp.where(is_done_B[:, None], -jnp.inf, log_probabilities),
            cache=cache.reorder(jnp.take_along_axis(candidates.parents_BJ, ranks_BK, axis=1)),
            finished=finished,
        )

    found = jax.lax.while_loop(some_are_open, search, _start(cache, limits_B.shape[0], beams, length)).finished
    return jax.tree.map(lambda x: x[:, :n_best], found)


@dataclass(frozen=True)
class Candidates:
    """The J = 2K most probable continuations of a sentence's open hypotheses, most probable first."""

    parents_BJ: Array
    last_BJ: Array
    tokens_BJL: Array
    log_probabilities_BJ: Array


def _start(cache: AnyCache, sentences: int, beams: int, length: int) -> BeamState[AnyCache]:
    """One open hypothesis a sentence, empty: K alike would be continued alike and stay so."""
    tokens = jnp.full((sentences, beams, length), -1, jnp.int32)
    nothing = jnp.full((sentences, beams), -jnp.inf)
    finished = Hypotheses(tokens, jnp.zeros((sentences, beams), jnp.int32), nothing, nothing)
    return BeamState(jnp.zeros((), jnp.int32), tokens, nothing.at[:, 0].set(0.0), cache, finished)


def _best_continuations(state: BeamState[AnyCache], next_BKV: Array) -> Candidates:
    B, K, V = next_BKV.shape
    total_BKV = state.log_probabilities[:, :, None] + next_BKV
    log_probabilities_BJ, index_BJ = top_k(total_BKV.reshape(B, K * V), 2 * K)
    parents_BJ, last_BJ = index_BJ // V, index_BJ % V
    tokens_BJL = jnp.take_along_axis(state.tokens, parents_BJ[:, :, None], axis=1)
    zero = jnp.zeros_like(state.position)  # of the same type, also where JAX counts in 64 bits
    tokens_BJL = jax.lax.dynamic_update_slice(tokens_BJL, last_BJ[:, :, None], (zero, zero, state.position))
    return Candidates(parents_BJ, last_BJ, tokens_BJL, log_probabilities_BJ)


def _finish(finished: Hypotheses, candidates: Candidates, end: int, length: Array, length_penalty: Array) -> Hypotheses:
    """The K best of the finished hypotheses and of those among the first K candidates that end now."""
    B, K = finished.lengths.shape
    log_probabilities = candidates.log_probabilities_BJ[:, :K]
    lengths = jnp.broadcast_to(length, (B, K))
    scores = score(log_probabilities, lengths, length_penalty)
    new = Hypotheses(
        tokens=candidates.tokens_BJL[:, :K],
        lengths=lengths,
        log_probabilities=log_probabilities,
        scores=jnp.where(candidates.last_BJ[:, :K] == end, scores, -jnp.inf),
    )
    both = jax.tree.map(lambda old, added: jnp.concatenate([old, added], axis=1), finished, new)
    scores, ranks_BK = jax.lax.top_k(both.scores, K)
    return Hypotheses(
        tokens=jnp.take_along_axis(both.tokens, ranks_BK[:, :, None], axis=1),
        lengths=jnp.take_along_axis(both.lengths, ranks_BK, axis=1),
        log_probabilities=jnp.take_along_axis(both.log_probabilities, ranks_BK, axis=1),
        scores=scores,
    )
