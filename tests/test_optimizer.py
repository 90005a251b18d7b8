"""Learning rates, Adam, clipping and weight decay (optax) against formulas written out by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from transformer.config import Train
from transformer.training.optimizer import learning_rate, optimizer

pytestmark = pytest.mark.mixed_dtypes

PEAK, WARMUP, STEPS = 0.3, 10, 100
SHARE_OF_PEAK = {  # by update, counted from 0; the 10 updates of the warm-up are the same for all
    "inverse_sqrt": {10: math.sqrt(10 / 11), 39: 1 / 2, 89: 1 / 3},
    "cosine": {54: 1 / 2, 39: (1 + math.cos(math.pi / 3)) / 2, 99: 0, 150: 0},
    "constant": {10: 1, 54: 1, 99: 1},
}


def settings(**changes: object) -> Train:
    default = {"learning_rate": PEAK, "warmup_steps": WARMUP, "steps": STEPS}
    return Train.model_validate(default | changes)


@pytest.mark.parametrize("schedule", SHARE_OF_PEAK)
def test_learning_rate(schedule: str) -> None:
    rate = learning_rate(settings(schedule=schedule))
    for update, share in ({0: 0.1, 4: 0.5, 9: 1} | SHARE_OF_PEAK[schedule]).items():
        assert rate(jnp.asarray(update)) == pytest.approx(PEAK * share, abs=1e-6), update


@pytest.mark.parametrize("schedule", SHARE_OF_PEAK)
def test_learning_rate_cools_down(schedule: str) -> None:
    """Over the last 20 updates the rate falls to a twentieth at the last one; the one after would have none."""
    plain, cooled = (learning_rate(settings(schedule=schedule, cooldown_steps=steps)) for steps in (0, 20))
    for update, share in {0: 1, 79: 1, 80: 1, 81: 19 / 20, 90: 1 / 2, 99: 1 / 20, 100: 0, 120: 0}.items():
        assert cooled(jnp.asarray(update)) == pytest.approx(share * float(plain(jnp.asarray(update))), abs=1e-6)


def test_no_warmup_starts_at_the_peak() -> None:
    assert learning_rate(settings(warmup_steps=0))(jnp.asarray(0)) == pytest.approx(PEAK)


def updated(settings: Train, parameters: optax.Params, gradients: list[optax.Params]) -> optax.Params:
    transformation = optimizer(settings)
    state = transformation.init(parameters)
    for gradient in gradients:
        updates, state = transformation.update(gradient, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
    return parameters


def test_adam() -> None:
    chosen = settings(adam_b1=0.7, adam_b2=0.9, adam_epsilon=0.01, clip_norm=0, schedule="constant")
    gradients = np.random.default_rng(1).normal(size=(3, 5))
    expected, mean, square = np.ones(5), np.zeros(5), np.zeros(5)
    for update, gradient in enumerate(gradients):
        mean, square = 0.7 * mean + 0.3 * gradient, 0.9 * square + 0.1 * gradient**2
        fair_mean, fair_square = mean / (1 - 0.7 ** (update + 1)), square / (1 - 0.9 ** (update + 1))
        expected -= PEAK * (update + 1) / WARMUP * fair_mean / (np.sqrt(fair_square) + 0.01)
    found = updated(chosen, jnp.ones(5), [jnp.asarray(gradient, jnp.float32) for gradient in gradients])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("clip_norm", "left"), [(0.0, 1.0), (1.0, 1 / 13), (26.0, 1.0)])
def test_clipping_shortens_the_whole_gradient(clip_norm: float, left: float) -> None:
    """With an epsilon of 1, Adam's first step is g / (|g| + 1): it shows how long the gradient was."""
    chosen = settings(clip_norm=clip_norm, adam_epsilon=1, warmup_steps=0)
    parameters = {"one": jnp.zeros(2), "other": jnp.zeros(1)}
    gradients = {"one": jnp.array([3.0, 4.0]), "other": jnp.array([-12.0])}  # 13 long
    found = updated(chosen, parameters, [gradients])
    for name, gradient in gradients.items():
        clipped = left * np.asarray(gradient)
        np.testing.assert_allclose(found[name], -PEAK * clipped / (np.abs(clipped) + 1), rtol=1e-4)


def test_weight_decay_shrinks_kernels_and_tables_only() -> None:
    names = ("kernel", "bias", "scale", "table")
    parameters = {"layer": dict.fromkeys(names, jnp.full((2, 3), 5.0))}
    nothing = jax.tree.map(jnp.zeros_like, parameters)
    found = updated(settings(weight_decay=0.2, warmup_steps=0), parameters, [nothing])["layer"]
    for name in names:
        expected = 5 * (1 - PEAK * 0.2) if name in ("kernel", "table") else 5
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, err_msg=name)
