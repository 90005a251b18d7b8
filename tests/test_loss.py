"""The smoothed loss against the divergence written out in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from transformer.training.objective import smoothed_entropy, smoothed_loss

B, T, V = 2, 5, 11
LABELS = jnp.array([[3, 5, 7, 2, -1], [10, 0, -1, -1, -1]])
IS_TOKEN = LABELS >= 0
SMOOTHINGS = [0.0, 0.1, 0.9]


def random_logits() -> Array:
    return 3 * jax.random.normal(jax.random.key(1), (B, T, V))


def smoothed_target(smoothing: float) -> np.ndarray:
    """float64 [tokens, V]"""
    return (1 - smoothing) * np.eye(V)[np.asarray(LABELS[IS_TOKEN])] + smoothing / V


def log_softmax(logits: np.ndarray) -> np.ndarray:
    exact = logits.astype(np.float64)
    return exact - np.log(np.exp(exact).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_loss_is_the_divergence_from_the_smoothed_target(smoothing: float) -> None:
    logits = random_logits()
    q, log_p = smoothed_target(smoothing), log_softmax(np.asarray(logits)[IS_TOKEN])
    log_q = np.log(q, where=q > 0, out=np.zeros_like(q))
    losses = smoothed_loss(logits, LABELS, IS_TOKEN, smoothing)
    assert losses.kl == pytest.approx((q * (log_q - log_p)).sum(), rel=1e-5)
    assert losses.nll == pytest.approx(-(np.eye(V)[LABELS[IS_TOKEN]] * log_p).sum(), rel=1e-5)
    assert losses.tokens == 6
    assert smoothed_entropy(V, smoothing) == pytest.approx(-(q * log_q).sum() / 6)


@pytest.mark.parametrize("smoothing", [0.1, 0.9])
def test_loss_is_zero_where_the_model_is_the_smoothed_target(smoothing: float) -> None:
    logits = np.zeros((B, T, V), np.float32)
    logits[IS_TOKEN] = np.log(smoothed_target(smoothing)) + 3
    losses = smoothed_loss(jnp.asarray(logits), LABELS, IS_TOKEN, smoothing)
    assert losses.kl == pytest.approx(0, abs=1e-5)
    assert smoothed_loss(jnp.asarray(logits + random_logits()), LABELS, IS_TOKEN, smoothing).kl > 0.1


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_gradient_is_what_the_model_says_too_much(smoothing: float) -> None:
    """p - q at the tokens, and nothing at the padding."""
    logits = random_logits()
    gradient = jax.grad(lambda logits: smoothed_loss(logits, LABELS, IS_TOKEN, smoothing).kl)(logits)
    expected = np.zeros((B, T, V))
    expected[IS_TOKEN] = np.exp(log_softmax(np.asarray(logits)[IS_TOKEN])) - smoothed_target(smoothing)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_padding_counts_nothing() -> None:
    logits = random_logits()
    changed = jnp.where(IS_TOKEN[..., None], logits, 1000 * logits)
    for one, other in zip(*(jax.tree.leaves(smoothed_loss(x, LABELS, IS_TOKEN, 0.1)) for x in (logits, changed)),
                          strict=True):  # fmt: skip
        np.testing.assert_array_equal(one, other)
    assert smoothed_loss(logits, LABELS, jnp.zeros_like(IS_TOKEN), 0.1).kl == 0


def test_perplexity_of_an_even_guess_is_the_vocabulary() -> None:
    losses = smoothed_loss(jnp.full((B, T, V), 5.0), LABELS, IS_TOKEN, 0.1)
    assert math.exp(losses.nll / losses.tokens) == pytest.approx(V, rel=1e-5)
