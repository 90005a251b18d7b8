"""Beam search equals brute force and a reference of a few lines, over random toys that see the whole prefix."""

import math
from collections.abc import Callable
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from toys import CODES, Toy, extended, toy_step
from transformer.decoding.beam import StopRule, beam_search, when_certain, when_full, when_unlikely
from transformer.decoding.hypotheses import Hypotheses, Rules, Symbols

V, L = 7, 5
START, END, NEVER = 0, 1, 2
SYMBOLS = Symbols(START, END, (START, NEVER, 6))
TEXT = (3, 4, 5)
Found = list[tuple[tuple[int, ...], float, float]]  # tokens, log-probability, score


@partial(jax.jit, static_argnames=("beams", "n_best", "stop", "shortest"))
def search(
    logits: Array,
    limits: Array,
    alpha: Array,
    *,
    beams: int,
    n_best: int,
    stop: StopRule = when_certain,
    shortest: int = 0,
) -> Hypotheses:
    cache = Toy(logits, jnp.zeros((len(logits), beams), jnp.int32))
    rules = Rules(SYMBOLS, cache_length=L, min_length=shortest, max_lengths_B=limits, length_penalty=alpha)
    return beam_search(toy_step, cache, rules, beam_size=beams, stop=stop, n_best=n_best)


def random_logits(seed: int, sentences: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=2, size=(sentences, CODES, V)).astype(np.float32)


def next_log_probabilities(logits: np.ndarray, prefix: tuple[int, ...]) -> np.ndarray:
    code = 0
    for token in (START, *prefix):
        code = extended(code, token)
    exact = logits[code].astype(np.float64)
    return exact - np.log(np.exp(exact).sum())


def log_probability(logits: np.ndarray, tokens: tuple[int, ...], limit: int) -> float:
    """The end that the limit forces costs nothing."""
    asked = tokens[: limit - 1]
    return math.fsum(next_log_probabilities(logits, tokens[:i])[token] for i, token in enumerate(asked))


def ranked(finished: list[tuple[tuple[int, ...], float]], alpha: float) -> Found:
    return sorted(((*pair, pair[1] / len(pair[0]) ** alpha) for pair in finished), key=lambda found: -found[2])


def every_sentence(logits: np.ndarray, limit: int, alpha: float, shortest: int = 0) -> Found:
    sentences = [
        (*text, END) for length in range(min(shortest, limit - 1), limit) for text in product(TEXT, repeat=length)
    ]
    return ranked([(tokens, log_probability(logits, tokens, limit)) for tokens in sentences], alpha)


def never(finished: list[float], best: float, length: int, limit: int, alpha: float) -> bool:
    return False


def full(finished: list[float], best: float, length: int, limit: int, alpha: float) -> bool:
    return True


def unlikely(finished: list[float], best: float, length: int, limit: int, alpha: float) -> bool:
    return finished[-1] >= best / length**alpha


Done = Callable[[list[float], float, int, int, float], bool]  # asked when as many as the beam is wide have finished


def reference(logits: np.ndarray, limit: int, alpha: float, beams: int, done: Done) -> Found:
    opened: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    finished = []
    for position in range(limit):
        if position == limit - 1:
            candidates = [((*prefix, END), total) for prefix, total in opened]
        else:
            candidates = [
                ((*prefix, token), total + next_log_probabilities(logits, prefix)[token])
                for prefix, total in opened
                for token in (END, *TEXT)
            ]
        candidates.sort(key=lambda candidate: -candidate[1])
        finished += [candidate for candidate in candidates[:beams] if candidate[0][-1] == END]
        opened = [candidate for candidate in candidates[: 2 * beams] if candidate[0][-1] != END][:beams]
        scores = [score for *_, score in ranked(finished, alpha)[:beams]]
        if len(scores) == beams and opened and done(scores, opened[0][1], position + 1, limit, alpha):
            break
    return ranked(finished, alpha)


def rows(found: Hypotheses) -> list[Found]:
    """What was found for each sentence, without the places where nothing was."""
    shown: list[Found] = []
    for tokens, lengths, *numbers in zip(*map(np.asarray, jax.tree.leaves(found)), strict=True):
        assert all(np.all(ids[length:] < 0) for ids, length in zip(tokens, lengths, strict=True))
        texts = [tuple(ids[:length].tolist()) for ids, length in zip(tokens, lengths, strict=True)]
        shown.append([entry for entry in zip(texts, *numbers, strict=True) if entry[2] > -np.inf])
    return shown


def assert_same(found: Found, expected: Found) -> None:
    assert [tokens for tokens, *_ in found] == [tokens for tokens, *_ in expected]
    np.testing.assert_allclose(
        [numbers for _, *numbers in found], [numbers for _, *numbers in expected], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_a_wide_beam_equals_brute_force(alpha: float) -> None:
    logits, limits = random_logits(1, 3), [5, 3, 1]
    # At most 27 open hypotheses go on in 4 ways: no beam of 108 or more cuts anything.
    found = rows(search(logits, jnp.array(limits), jnp.float32(alpha), beams=109, n_best=11))
    for entries, table, limit in zip(found, logits, limits, strict=True):
        assert_same(entries, every_sentence(table, limit, alpha)[:11])


@pytest.mark.parametrize("shortest", [1, 3])
def test_none_ends_before_the_shortest_but_by_its_limit(shortest: int) -> None:
    logits, limits = random_logits(8, 4), [5, 4, 3, 1]
    logits[:, :, END] += 3
    found = rows(search(logits, jnp.array(limits), jnp.float32(1), beams=109, n_best=7, shortest=shortest))
    for entries, table, limit in zip(found, logits, limits, strict=True):
        assert_same(entries, every_sentence(table, limit, 1.0, shortest)[:7])


@pytest.mark.parametrize(("beams", "n_best"), [(1, 1), (2, 2), (3, 1), (5, 3)])
def test_a_narrow_beam_equals_the_reference(beams: int, n_best: int) -> None:
    sentences = 41
    logits = random_logits(2, sentences)
    limits = np.random.default_rng(3).integers(1, L + 1, sentences)
    expected: dict[StopRule, Done] = {when_full: full, when_unlikely: unlikely, when_certain: never}
    different = set()
    for alpha in (0.0, 0.6, 1.0, 2.0):
        for stop, done in expected.items():
            found = rows(search(logits, jnp.asarray(limits), jnp.float32(alpha), beams=beams, n_best=n_best, stop=stop))
            for entries, table, limit in zip(found, logits, limits, strict=True):
                assert_same(entries, reference(table, int(limit), alpha, beams, done)[:n_best])
            different.add(str(found))
    assert len(different) > 4  # the rules find different sentences


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    """One sentence ends at once, one would never end: what is found first stays while the others go on."""
    logits, limits = random_logits(4, 3), jnp.array([5, 5, 4])
    logits[0, :, END] += 9
    logits[1, :, END] -= 9
    together = rows(search(logits, limits, jnp.float32(1), beams=3, n_best=2))
    assert [len(entries[0][0]) for entries in together[:2]] == [1, 5]
    for b in range(3):
        alone = rows(search(logits[b : b + 1], limits[b : b + 1], jnp.float32(1), beams=3, n_best=2))
        assert alone == together[b : b + 1]


def test_what_is_found_is_a_sentence_with_its_own_log_probability() -> None:
    """Ids that are no text never come, though the model likes them; the forced end costs nothing."""
    logits, limits = random_logits(5, 41), np.arange(41) % L + 1
    logits[:, :, [START, NEVER, 6]] += 3
    logits[:, :, END] -= 3
    found = rows(search(logits, jnp.asarray(limits), jnp.float32(0.6), beams=3, n_best=2))
    for entries, table, limit in zip(found, logits, limits, strict=True):
        assert len(entries) == min(limit, 2)
        for tokens, total, score in entries:
            assert len(tokens) <= limit
            assert tokens[-1] == END
            assert set(tokens[:-1]) <= set(TEXT)
            assert total == pytest.approx(log_probability(table, tokens, limit), rel=1e-4, abs=1e-9)
            assert score == pytest.approx(total / len(tokens) ** 0.6, rel=1e-4, abs=1e-9)
    assert any(len(entries[0][0]) == L for entries in found)
