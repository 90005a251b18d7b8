"""Beam search until the end symbol."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

import jax
import jax.numpy as jnp
from jax import Array

from transformer.decoding.hypotheses import AnyCache, Hypotheses, Rules, Step

CHUNK = 128  # size of the chunks in which `top_k` divides a row

# score of the worst of K finished hypotheses [B] (-inf if there are fewer), log-probability of the best open one [B],
# length of the open ones [], rules of the search -> bool [B], whether the search for a sentence stops
StopRule = Callable[[Array, Array, Array, Rules], Array]


def when_full(worst_B: Array, best_B: Array, length: Array, rules: Rules) -> Array:
    """Stops when K hypotheses are finished, as fairseq, CTranslate2, and Hugging Face with `early_stopping=True`."""
    return worst_B > -jnp.inf


def when_unlikely(worst_B: Array, best_B: Array, length: Array, rules: Rules) -> Array:
    """Stops when no open hypothesis scores higher now than the worst of K finished ones: `early_stopping=False`."""
    return worst_B >= rules.score(best_B, length)


def when_certain(worst_B: Array, best_B: Array, length: Array, rules: Rules) -> Array:
    """Stops when no open hypothesis can ever score higher than K finished ones: `early_stopping="never"`."""
    return worst_B >= rules.score(best_B, rules.max_lengths_B)


STOP_RULES: dict[str, StopRule] = {"full": when_full, "unlikely": when_unlikely, "certain": when_certain}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BeamState(Generic[AnyCache]):
    """The state of the search between two steps."""

    position: Array  # int32 [], number of tokens in each open hypothesis
    tokens: Array  # int32 [B, K, L], open hypotheses
    log_probabilities: Array  # float32 [B, K], of open hypotheses; -inf if there is none, or the sentence is finished
    cache: AnyCache
    finished: Hypotheses  # the K best finished hypotheses, best first


def beam_search(
    step: Step[AnyCache],
    cache: AnyCache,
    rules: Rules,
    *,
    beam_size: int,
    stop: StopRule,
    n_best: int = 1,
) -> Hypotheses:
    """Returns the `n_best` best hypotheses of each sentence that a beam of K = `beam_size` finds, best first.

    At each step the K open hypotheses are continued by every token. Of the 2K most probable continuations, those that
    end the sentence and are among the first K become finished hypotheses. The first K of the others stay open; there
    are always K, because only one continuation of each hypothesis ends it. `stop` decides when a sentence is finished.
    At the length limit of a sentence, the end symbol is forced. The result does not depend on the other sentences.
    """

    def is_searching(state: BeamState[AnyCache]) -> Array:
        return (state.position < rules.cache_length) & jnp.any(state.log_probabilities > -jnp.inf)

    def search(state: BeamState[AnyCache]) -> BeamState[AnyCache]:
        last_BK = jnp.take(state.tokens, jnp.maximum(state.position - 1, 0), axis=2)
        last_BK = jnp.where(state.position == 0, rules.symbols.start, last_BK)
        logits_BKV, cache = step(last_BK, state.cache, state.position)
        next_BKV = rules.next_log_probabilities(logits_BKV, state.position)
        candidates = _best_continuations(state, next_BKV)
        finished = _finish(state.finished, candidates, state.position + 1, rules)

        # The ranks of the first K candidates that stay open.
        stays_open = candidates.last_BJ != rules.symbols.end
        ranks_BK = jnp.argsort(~stays_open, axis=1, stable=True)[:, :beam_size]
        log_probabilities = jnp.take_along_axis(candidates.log_probabilities_BJ, ranks_BK, axis=1)
        worst_B, best_B = finished.scores[:, -1], log_probabilities[:, 0]
        is_finished_B = stop(worst_B, best_B, state.position + 1, rules)
        return BeamState(
            position=state.position + 1,
            tokens=jnp.take_along_axis(candidates.tokens_BJL, ranks_BK[:, :, None], axis=1),
            log_probabilities=jnp.where(is_finished_B[:, None], -jnp.inf, log_probabilities),
            cache=cache.reorder(jnp.take_along_axis(candidates.parents_BJ, ranks_BK, axis=1)),
            finished=finished,
        )

    initial = _initial_state(cache, len(rules.max_lengths_B), beam_size, rules.cache_length)
    finished = jax.lax.while_loop(is_searching, search, initial).finished
    return jax.tree.map(lambda x: x[:, :n_best], finished)


@dataclass(frozen=True)
class Candidates:
    """The J = 2K most probable continuations of the open hypotheses of a sentence, most probable first."""

    parents_BJ: Array
    last_BJ: Array
    tokens_BJL: Array
    log_probabilities_BJ: Array


def _initial_state(cache: AnyCache, sentences: int, beam_size: int, cache_length: int) -> BeamState[AnyCache]:
    """Returns a state with one open, empty hypothesis per sentence, because K equal ones would stay equal."""
    tokens = jnp.full((sentences, beam_size, cache_length), -1, jnp.int32)
    none = jnp.full((sentences, beam_size), -jnp.inf)
    finished = Hypotheses(tokens, jnp.zeros((sentences, beam_size), jnp.int32), none, none)
    return BeamState(jnp.zeros((), jnp.int32), tokens, none.at[:, 0].set(0.0), cache, finished)


def _best_continuations(state: BeamState[AnyCache], next_BKV: Array) -> Candidates:
    B, K, V = next_BKV.shape
    total_BKV = state.log_probabilities[:, :, None] + next_BKV
    log_probabilities_BJ, index_BJ = top_k(total_BKV.reshape(B, K * V), 2 * K)
    parents_BJ, last_BJ = index_BJ // V, index_BJ % V
    tokens_BJL = jnp.take_along_axis(state.tokens, parents_BJ[:, :, None], axis=1)
    zero = jnp.zeros_like(state.position)  # of the same dtype, also if JAX uses 64 bits
    tokens_BJL = jax.lax.dynamic_update_slice(tokens_BJL, last_BJ[:, :, None], (zero, zero, state.position))
    return Candidates(parents_BJ, last_BJ, tokens_BJL, log_probabilities_BJ)


def _finish(finished: Hypotheses, candidates: Candidates, length: Array, rules: Rules) -> Hypotheses:
    """Returns the K best of the earlier finished hypotheses and of the first K candidates, as far as these end now."""
    B, K = finished.lengths.shape
    log_probabilities = candidates.log_probabilities_BJ[:, :K]
    lengths = jnp.broadcast_to(length, (B, K))
    scores = rules.score(log_probabilities, lengths)
    new = Hypotheses(
        tokens=candidates.tokens_BJL[:, :K],
        lengths=lengths,
        log_probabilities=log_probabilities,
        scores=jnp.where(candidates.last_BJ[:, :K] == rules.symbols.end, scores, -jnp.inf),
    )
    both = jax.tree.map(lambda old, added: jnp.concatenate([old, added], axis=1), finished, new)
    ranks_BK = jax.lax.top_k(both.scores, K)[1]
    return jax.tree.map(lambda x: jnp.take_along_axis(x, jnp.expand_dims(ranks_BK, range(2, x.ndim)), axis=1), both)


def top_k(x: Array, k: int) -> tuple[Array, Array]:
    """Returns the k largest numbers of each row and their indices, like `jax.lax.top_k`.

    Inside a loop on CPU, `jax.lax.top_k` sorts the whole row: 80 ms for 85 rows of 30,000 (jax 0.10.2). The k largest
    lie in the k chunks with the largest maxima, so two short sorts are enough.
    """
    rows, size = x.shape
    if CHUNK * k >= size:
        return jax.lax.top_k(x, k)
    chunks = jnp.pad(x, ((0, 0), (0, -size % CHUNK)), constant_values=-jnp.inf).reshape(rows, -1, CHUNK)
    # Sorted, so that of equal numbers the first is chosen.
    chosen = jnp.sort(jax.lax.top_k(chunks.max(axis=-1), k)[1], axis=-1)
    candidates = jnp.take_along_axis(chunks, chosen[:, :, None], axis=1).reshape(rows, -1)
    values, places = jax.lax.top_k(candidates, k)
    return values, jnp.take_along_axis(chosen, places // CHUNK, axis=1) * CHUNK + places % CHUNK
