"""Norm, feed-forward, embedding, positions, residuals and dropout, against NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from transformer.config import Model
from transformer.model.layers import Embedding, FeedForward, Linear, Norm, Residual, dropout, sinusoids

FLOAT32 = jnp.dtype(jnp.float32)
erf = np.vectorize(math.erf)
ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def normal(seed: int, *shape: int) -> Array:
    return jax.random.normal(jax.random.key(seed), shape)


def normed(x: np.ndarray, epsilon: float) -> np.ndarray:
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)


def test_norm() -> None:
    norm = Norm(7, 0.1)
    norm.scale[...], norm.bias[...] = normal(1, 7), normal(2, 7)
    x = 3 * normal(3, 2, 5, 7) + 1
    expected = normed(np.asarray(x, np.float64), 0.1) * np.asarray(norm.scale[...]) + np.asarray(norm.bias[...])
    np.testing.assert_allclose(norm(x), expected, rtol=1e-5, atol=1e-6)


def test_norm_takes_its_statistics_in_float32() -> None:
    x = (1000 + normal(1, 3, 101)).astype(jnp.bfloat16)
    found = Norm(101, 1e-5)(x)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(FLOAT32), normed(np.asarray(x, np.float64), 1e-5), rtol=0.01, atol=0.01)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feed_forward(activation: str) -> None:
    settings = Model(d_model=5, d_ff=11, num_heads=1, positions="learned", activation=activation)
    layer = FeedForward(settings, dtype=FLOAT32, rng=jax.random.key(0))
    layer.up.bias[...], layer.down.bias[...] = normal(1, 11), normal(2, 5)
    x = normal(3, 2, 3, 5)
    up, down, up_bias, down_bias = (
        np.asarray(parameter[...], np.float64)
        for parameter in (layer.up.kernel, layer.down.kernel, layer.up.bias, layer.down.bias)
    )
    expected = ACTIVATIONS[activation](np.asarray(x) @ up + up_bias) @ down + down_bias
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_linear_starts_as_glorot_and_bengio_have_it() -> None:
    layer = Linear(31, 67, dtype=FLOAT32, rng=jax.random.key(0))
    bound = math.sqrt(6 / (31 + 67))
    kernel = np.asarray(layer.kernel[...])
    assert 0.97 * bound < np.abs(kernel).max() <= bound
    np.testing.assert_allclose(kernel.std(), bound / math.sqrt(3), rtol=0.05)
    assert not np.any(layer.bias[...])


def test_embedding_scales_by_the_square_root_of_the_width() -> None:
    embedding = Embedding(503, 29, scaled=True, dtype=FLOAT32, rng=jax.random.key(0))
    table, tokens = np.asarray(embedding.table[...]), np.array([[3, 5, 3], [7, 0, 502]])
    np.testing.assert_allclose(embedding.embed(jnp.asarray(tokens)), table[tokens] * math.sqrt(29), rtol=1e-6)
    np.testing.assert_allclose(np.std(embedding.embed(jnp.arange(503))), 1, rtol=0.05)


def test_embedding_backwards_scores_every_token() -> None:
    embedding = Embedding(503, 29, scaled=True, dtype=jnp.dtype(jnp.bfloat16), rng=jax.random.key(0))
    x = normal(1, 13, 29).astype(jnp.bfloat16)
    table = np.asarray(embedding.table[...].astype(jnp.bfloat16), np.float64)
    scores = embedding.logits(x)
    assert scores.dtype == FLOAT32
    np.testing.assert_allclose(scores, np.asarray(x, np.float64) @ table.T, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.std(scores), 1, rtol=0.1)


def test_sinusoids() -> None:
    positions = np.array([0, 1, 2, 57, 499])
    expected = np.zeros((5, 6))
    for row, position in enumerate(positions):
        for pair in range(3):
            angle = position / 10000 ** (2 * pair / 6)
            expected[row, pair], expected[row, 3 + pair] = math.sin(angle), math.cos(angle)
    np.testing.assert_allclose(sinusoids(jnp.asarray(positions), 6), expected, atol=1e-4)


def residual_of(norm: str) -> Residual:
    return Residual(Model(d_model=7, num_heads=1, positions="learned", dropout=0.5, norm_epsilon=1e-5, norm=norm))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_residual_norms_before_the_sublayer_or_after_the_sum(norm: str) -> None:
    residual = residual_of(norm)
    x = normal(1, 3, 7)
    exact = np.asarray(x, np.float64)
    expected = exact + np.sin(normed(exact, 1e-5)) if norm == "pre" else normed(exact + np.sin(exact), 1e-5)
    np.testing.assert_allclose(residual(x, jnp.sin, None), expected, rtol=1e-4, atol=1e-5)


def test_residual_drops_of_the_sublayer_only() -> None:
    x = normal(1, 101, 7)
    found = residual_of("pre")(x, jnp.ones_like, jax.random.key(0)) - x
    np.testing.assert_allclose(np.unique(np.round(found, 4)), [0, 2])


def test_dropout_keeps_the_mean_and_drops_the_share() -> None:
    x = jnp.full((211, 199), 3.0)
    found = np.asarray(dropout(x, 0.3, jax.random.key(0)))
    np.testing.assert_allclose(np.unique(found), [0, 3 / 0.7], rtol=1e-6)
    assert (found == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert found.mean() == pytest.approx(3, abs=0.05)


def test_dropout_follows_its_key() -> None:
    x = normal(1, 31, 37)
    one, same, other = (dropout(x, 0.3, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.any(one != other)
    np.testing.assert_array_equal(dropout(x, 0.3, None), x)
    np.testing.assert_array_equal(dropout(x, 0.0, jax.random.key(1)), x)
