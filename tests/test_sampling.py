"""Generation: greedy is the argmax, draws follow the distribution and the sentence's own key."""

import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from toys import CODES, Toy, extended, toy_step
from transformer.config import Sampling
from transformer.config.loading import with_overrides
from transformer.decoding.generate import generate, most_probable
from transformer.decoding.hypotheses import Hypotheses, Rules, Symbols
from transformer.decoding.sampling import Sampled
from transformer.errors import UsageError

V, L = 7, 11
START, END, NEVER = 0, 1, 2
SYMBOLS = Symbols(START, END, (START, NEVER))
NOTHING = [START, NEVER]


def random_logits(seed: int, sentences: int) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(scale=2, size=(sentences, CODES, V)).astype(np.float32)
    logits[:, :, END] -= 1
    return logits


@partial(jax.jit, static_argnames=("count", "cut"))
def run(
    logits: Array, limits: Array, keys: Array | None, *, count: int, cut: tuple[float, int, float] | None = None
) -> Hypotheses:
    """`cut` is temperature, top_k, top_p; none: greedy."""
    choose = most_probable if cut is None else sampled(keys, cut)
    cache = Toy(logits, jnp.zeros((len(logits), count), jnp.int32))
    penalty = jnp.float32(0.6)
    rules = Rules(SYMBOLS, cache_length=L, min_length=0, max_lengths_B=limits, length_penalty=penalty)
    return generate(toy_step, cache, rules, choose, count=count)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", [0, -1, math.nan, math.inf, 2e6, "hot"]),
        ("top_p", [0, -0.1, 1.1, math.nan]),
        ("top_k", [-1, 1.5, 1 << 32]),
        ("seed", [-1, 1 << 31, 1 << 40, 0.5]),
    ],
)
def test_the_options_of_sampling_have_bounds(name: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(UsageError, match=rf"^decode\.{name} = {re.escape(repr(value))}: "):
            with_overrides(Sampling(), {name: value}, "decode")


def sampled(keys: Array | None, cut: tuple[float, int, float]) -> Sampled:
    temperature, top_k, top_p = cut
    assert keys is not None
    return Sampled(keys, Sampling(temperature=temperature, top_k=top_k, top_p=top_p))


def sentence_keys(count: int) -> Array:
    return jax.vmap(jax.random.key)(jnp.arange(count))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    exact = logits.astype(np.float64)
    return exact - np.log(np.exp(exact).sum())


def greedy(logits: np.ndarray, limit: int) -> tuple[list[int], float]:
    """The end that the limit forces costs nothing."""
    tokens, total, code = [], 0.0, extended(0, START)
    while END not in tokens:
        following = log_softmax(logits[code])
        if len(tokens) == limit - 1:
            return [*tokens, END], total
        allowed = [i for i in range(V) if i not in NOTHING]
        best = max(allowed, key=lambda i: following[i])
        tokens.append(best)
        total += following[best]
        code = extended(code, best)
    return tokens, total


def test_greedy_is_the_argmax() -> None:
    logits, limits = random_logits(1, 23), np.arange(23) % L + 1
    found = run(logits, jnp.asarray(limits), None, count=1)
    for b in range(23):
        tokens, total = greedy(logits[b], limits[b])
        assert found.tokens[b, 0].tolist() == tokens + [-1] * (L - len(tokens))
        assert found.lengths[b, 0] == len(tokens)
        assert found.log_probabilities[b, 0] == pytest.approx(total, rel=1e-4)
        assert found.scores[b, 0] == pytest.approx(total / len(tokens) ** 0.6, rel=1e-4)


@pytest.mark.parametrize("cut", [(1.0, 1, 1.0), (1.0, 0, 1e-6), (1e-4, 0, 1.0)])
def test_the_narrowest_sampling_is_greedy(cut: tuple[float, int, float]) -> None:
    logits, limits = random_logits(2, 5), jnp.full((5,), L)
    expected = run(logits, limits, None, count=1)
    found = run(logits, limits, sentence_keys(5), count=3, cut=cut)
    np.testing.assert_array_equal(found.tokens, np.repeat(expected.tokens, 3, axis=1))


def test_rows_depend_on_their_own_keys_alone() -> None:
    logits, limits, keys, cut = random_logits(3, 5), jnp.array([11, 7, 3, 2, 1]), sentence_keys(5), (1.0, 0, 0.9)
    together = run(logits, limits, keys, count=3, cut=cut)
    order = np.array([4, 2, 0, 3, 1])
    mixed = run(logits[order], limits[order], keys[order], count=3, cut=cut)
    jax.tree.map(lambda one, other: np.testing.assert_array_equal(one[order], other), together, mixed)
    alone = run(logits[:1], limits[:1], keys[:1], count=3, cut=cut)
    jax.tree.map(lambda one, other: np.testing.assert_array_equal(one[:1], other), together, alone)
    others = run(logits, limits, keys[::-1], count=3, cut=cut)
    assert np.any(others.tokens[:2] != together.tokens[:2])


def test_draws_end_and_hold_text_only() -> None:
    """Each is closed by one end of sentence, at the limit at the latest, and has the model's log-probability."""
    logits, limits = random_logits(4, 7), np.array([1, 2, 3, 5, 7, 11, 11])
    found = run(logits, jnp.asarray(limits), sentence_keys(7), count=5, cut=(2.0, 0, 1.0))
    for b, k in np.ndindex(7, 5):
        tokens = [int(token) for token in found.tokens[b, k] if token >= 0]
        assert len(tokens) == found.lengths[b, k] <= limits[b]
        assert tokens.index(END) == len(tokens) - 1
        assert not set(NOTHING) & set(tokens)
        codes = [extended(0, START)]
        for token in tokens[:-1]:
            codes.append(extended(codes[-1], token))
        asked = [log_softmax(logits[b, code])[token] for code, token in zip(codes, tokens, strict=True)]
        assert found.log_probabilities[b, k] == pytest.approx(sum(asked[: limits[b] - 1]), rel=1e-4)


PROBABILITIES = np.array([0.0, 0.05, 0.0, 0.4, 0.1, 0.25, 0.2])


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        ((1.0, 0, 1.0), PROBABILITIES),
        ((0.5, 0, 1.0), PROBABILITIES**2),
        ((2.0, 0, 1.0), PROBABILITIES**0.5),
        ((1.0, 3, 1.0), PROBABILITIES * (PROBABILITIES >= 0.2)),
        ((1.0, 0, 0.6), PROBABILITIES * (PROBABILITIES >= 0.25)),  # 0.4 alone is too little, with 0.25 enough
        ((0.5, 0, 0.6), PROBABILITIES**2 * (PROBABILITIES >= 0.25)),
        ((1.0, 2, 0.99), PROBABILITIES * (PROBABILITIES >= 0.25)),
    ],
)
def test_draws_are_as_frequent_as_probable(cut: tuple[float, int, float], expected: np.ndarray) -> None:
    draws = 5000
    with np.errstate(divide="ignore"):
        log_probabilities = jnp.asarray(np.log(PROBABILITIES), jnp.float32)
    choose = sampled(sentence_keys(1), cut)
    drawn = choose(jnp.broadcast_to(log_probabilities, (1, draws, V)), jnp.asarray(3))
    counts, wanted = np.bincount(drawn[0], minlength=V), draws * expected / expected.sum()
    assert np.all(counts[wanted == 0] == 0)
    possible = wanted > 0
    chi_square = ((counts - wanted)[possible] ** 2 / wanted[possible]).sum()
    assert chi_square < 20  # of 4 degrees of freedom at most: exceeded by chance once in 2000


def test_draws_differ_by_key_position_and_hypothesis() -> None:
    even = jnp.zeros((2, 101, V))
    drawn = np.stack([Sampled(sentence_keys(2), Sampling())(even, jnp.asarray(position)) for position in (0, 1)])
    for one, other in ((drawn[0, 0], drawn[0, 1]), (drawn[0], drawn[1]), (drawn[..., 1:], drawn[..., :-1])):
        assert np.mean(one == other) < 0.25  # by chance: 1 / V
