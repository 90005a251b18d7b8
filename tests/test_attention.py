"""Attention against a reference in NumPy, one query and one head at a time; masks; causality by gradient."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from transformer.config import Model
from transformer.model.attention.attention import Attention, KeysValues, attend, scaled_dot
from transformer.model.attention.masks import beam_mask, causal_mask, padding_mask

B, T, S, H, D = 2, 3, 5, 3, 21
HEAD = D // H
IS_TOKEN = jnp.array([[True] * 5, [True, True, False, False, False]])


def normal(seed: int, *shape: int) -> Array:
    return jax.random.normal(jax.random.key(seed), shape)


def attention() -> Attention:
    settings, dtype = Model(d_model=D, num_heads=H, positions="learned"), jnp.dtype(jnp.float32)
    module = jax.eval_shape(lambda rng: Attention(settings, dtype=dtype, rng=rng), jax.random.key(0))
    random = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: random.normal(0, 0.4, leaf.shape).astype(np.float32), module)


@jax.jit
def look(module: Attention, x: Array, source: Array, mask: Array) -> Array:
    return module(x, module.project(source), mask)


def reference(module: Attention, x: Array, source: Array, mask: np.ndarray) -> np.ndarray:
    """mask[b, t, s]: whether query t of sentence b may look at position s."""

    def projected(part: str, x: Array) -> np.ndarray:
        linear = getattr(module, part)
        return np.asarray(x, np.float64) @ np.asarray(linear.kernel[...]) + np.asarray(linear.bias[...])

    queries, keys, values = projected("query", x), projected("key", source), projected("value", source)
    seen = np.zeros(x.shape)
    for b, t, h in np.ndindex(*x.shape[:2], H):
        head = slice(h * HEAD, (h + 1) * HEAD)
        may = np.flatnonzero(mask[b, t])
        weights = np.exp([queries[b, t, head] @ keys[b, s, head] / math.sqrt(HEAD) for s in may])
        seen[b, t, head] = weights / weights.sum() @ values[b, may, head]
    return projected("out", jnp.asarray(seen))


@pytest.mark.parametrize("is_token", [jnp.ones((B, S), bool), IS_TOKEN])
def test_cross_attention(is_token: Array) -> None:
    module, x, source = attention(), normal(1, B, T, D), normal(2, B, S, D)
    expected = reference(module, x, source, np.broadcast_to(np.asarray(is_token)[:, None], (B, T, S)))
    np.testing.assert_allclose(look(module, x, source, padding_mask(is_token)), expected, rtol=1e-4, atol=1e-5)


def test_masks_combine_by_addition() -> None:
    module, x = attention(), normal(1, B, S, D)
    mask = np.asarray(IS_TOKEN)[:, None] & np.tril(np.ones((S, S), bool))
    found = look(module, x, x, padding_mask(IS_TOKEN) + causal_mask(S))
    np.testing.assert_allclose(found, reference(module, x, x, mask), rtol=1e-4, atol=1e-5)


def test_masks() -> None:
    inf = np.inf
    np.testing.assert_array_equal(causal_mask(3)[0, 0], [[0, -inf, -inf], [0, 0, -inf], [0, 0, 0]])
    # Two hypotheses at position 1: the first has taken over token 0 of the second, the second is its own.
    beam_indices = jnp.array([[[1, 0, 0], [1, 1, 0]]])
    shown = [[-inf, 0, -inf, 0, -inf, -inf], [-inf, -inf, -inf, 0, 0, -inf]]
    np.testing.assert_array_equal(beam_mask(beam_indices, jnp.array(1))[0, 0], shown)
    np.testing.assert_array_equal(padding_mask(IS_TOKEN)[:, 0, 0], [[0] * 5, [0, 0, -inf, -inf, -inf]])
    assert padding_mask(IS_TOKEN).shape == (B, 1, 1, S)
    assert causal_mask(3).shape == (1, 1, 3, 3)


def test_causality_by_gradient() -> None:
    """The derivative of what position t sees by what stands at s is zero for s > t, and for no other s."""
    module, x = attention(), normal(1, 1, S, D)
    project = normal(2, D)

    def seen_T(x: Array) -> Array:
        return look(module, x, x, causal_mask(S))[0] @ project

    size_TS = np.abs(jax.jit(jax.jacrev(seen_T))(x)[:, 0]).max(axis=-1)
    np.testing.assert_array_equal(size_TS > 0, np.tril(np.ones((S, S), bool)))


def test_padding_is_not_seen_by_gradient() -> None:
    module, x, source = attention(), normal(1, B, T, D), normal(2, B, S, D)
    gradient = jax.jit(jax.grad(lambda source: look(module, x, source, padding_mask(IS_TOKEN)).sum()))(source)
    np.testing.assert_array_equal(np.any(gradient != 0, axis=-1), IS_TOKEN)


def test_scores_are_scaled_and_in_float32() -> None:
    query, key = (normal(seed, B, length, H, HEAD).astype(jnp.bfloat16) for seed, length in ((1, T), (2, S)))
    scores = scaled_dot(query, key)
    assert scores.dtype == jnp.float32
    expected = np.einsum("bthd,bshd->bhts", np.asarray(query, np.float64), np.asarray(key, np.float64))
    np.testing.assert_allclose(scores, expected / math.sqrt(HEAD), rtol=0.02, atol=0.02)


def test_dropout_drops_weights() -> None:
    """With equal weights and values of one, what is seen is the share that is kept, scaled."""
    positions = 997
    zeros, ones = jnp.zeros((1, positions, 1, 1)), jnp.ones((1, positions, 1, 1))
    memory, nothing = KeysValues(zeros, ones), jnp.zeros((1, 1, 1, 1))

    def seen(key: Array | None) -> np.ndarray:
        return np.asarray(attend(zeros[:, :7], memory, nothing, dropout_rate=0.3, rng=key)).ravel()

    np.testing.assert_allclose(seen(None), 1, rtol=1e-5)
    found = seen(jax.random.key(1))
    np.testing.assert_allclose(found, 1, atol=0.1)
    assert np.all(np.abs(found - 1) > 1e-6)
    assert np.any(found != seen(jax.random.key(2)))
