"""One update of training: parts make the whole, the seed and the step decide on everything, weights are averaged."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from transformer.config import Config
from transformer.data.batches import Batch
from transformer.model.parameters import named
from transformer.model.transformer import Transformer
from transformer.training.update import (
    TrainState,
    Update,
    UpdateMetrics,
    all_finite,
    batch_losses,
    initial_state,
    make_update,
)

pytestmark = pytest.mark.mixed_dtypes

V, B, S, T = 19, 8, 5, 7
MODEL = {"d_model": 6, "d_ff": 11, "num_heads": 3, "encoder_layers": 1, "decoder_layers": 1}


def settings(*, seed: int = 1, dropout: float = 0.0, **train: object) -> Config:
    changes = {"learning_rate": 0.01, "warmup_steps": 3, "steps": 100, "clip_norm": 0.1, "adam_epsilon": 1e-3} | train
    data = {"source": "en", "target": "de", "train": ["builtin:clauses"], "valid": ["builtin:clauses"]}
    model = MODEL | {"dropout": dropout, "compute_dtype": "float32"}
    return Config.model_validate({"run_dir": "run", "seed": seed, "data": data, "model": model, "train": changes})


def batch(seed: int = 1) -> Batch:
    """Rows of different lengths, the last of them a row without a label."""
    random = np.random.default_rng(seed)
    source, labels = (random.integers(4, V, (B, length)).astype(np.int32) for length in (S, T))
    source[np.arange(S) >= random.integers(1, S + 1, (B, 1))] = -1
    labels[np.arange(T) >= random.integers(1, T + 1, (B, 1))] = -1
    labels[-1] = -1
    target = np.concatenate([np.ones((B, 1), np.int32), labels[:, :-1]], axis=1)
    return jax.tree.map(jnp.asarray, Batch(source, target, labels))


def assert_equal(one: object, other: object) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def initial(chosen: Config) -> TrainState:
    return initial_state(chosen.model, chosen.train, chosen.seed, V, V)


@cache
def jitted(chosen: Config) -> Update:
    return jax.jit(make_update(chosen.train, chosen.seed))


def run(chosen: Config, state: TrainState, count: int) -> list[tuple[TrainState, UpdateMetrics]]:
    """The states and metrics after each of `count` updates."""
    steps = []
    for number in range(count):
        state, metrics = jitted(chosen)(state, batch(number))
        steps.append((state, metrics))
    return steps


@pytest.fixture(scope="module")
def start() -> TrainState:
    """Before the first update, without dropout."""
    return initial(settings())


def test_the_first_state_is_a_function_of_the_seed(start: TrainState) -> None:
    assert_equal(initial(settings()), start)
    assert_equal(named(start.average), named(start.model))
    other = initial(settings(seed=2, ema_decay=0))
    assert np.any(other.model.source_embedding.table[...] != start.model.source_embedding.table[...])
    assert other.average is None


def test_parts_make_the_whole(start: TrainState) -> None:
    """Though they lock different numbers of tokens, and one row none at all."""
    whole, parts = (run(settings(accumulate=accumulate), start, 1)[0] for accumulate in (1, 2))
    expected = named(whole)
    for name, found in named(parts).items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-3, atol=1e-6, err_msg=name)


def test_metrics_are_those_of_the_batch(start: TrainState) -> None:
    def mean_kl(model: Transformer) -> Array:
        losses = batch_losses(model, batch(0), 0.1)
        return losses.kl / losses.tokens

    ((state, metrics),) = run(settings(), start, 1)
    losses, gradient = jax.jit(jax.value_and_grad(mean_kl))(start.model)
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient)))
    assert metrics.losses.kl / metrics.losses.tokens == pytest.approx(float(losses), rel=1e-5)
    assert metrics.losses.tokens == (batch(0).labels >= 0).sum()
    assert metrics.gradient_norm == pytest.approx(float(norm), rel=1e-4)
    assert metrics.learning_rate == pytest.approx(0.01 / 3)
    assert state.step == 1


def test_runs_of_one_seed_are_equal_bit_for_bit() -> None:
    """And the average is that of NumPy."""
    chosen = settings(dropout=0.5, ema_decay=0.2)
    first, again = (run(chosen, initial(chosen), 3) for _ in range(2))
    assert_equal(first, again)
    average = named(initial(chosen).model)
    for number, (state, _) in enumerate(first):
        decay = min(0.2, (1 + number) / (10 + number))
        average = {name: decay * average[name] + (1 - decay) * new for name, new in named(state.model).items()}
        for name, found in named(state.average).items():
            np.testing.assert_allclose(found, average[name], rtol=1e-5, atol=1e-7, err_msg=name)


def test_dropout_follows_from_the_seed_and_the_step() -> None:
    chosen = settings(dropout=0.5)
    update, state = jitted(chosen), initial(chosen)
    one, later = (update(replace(state, step=jnp.asarray(step, jnp.int32)), batch())[1] for step in (0, 1))
    other = jitted(settings(seed=2, dropout=0.5))(state, batch())[1]
    assert one.losses.kl != later.losses.kl
    assert one.losses.kl != other.losses.kl


def test_updates_learn(start: TrainState) -> None:
    state, losses = start, []
    for _ in range(60):
        state, metrics = jitted(settings())(state, batch())
        losses.append(float(metrics.losses.kl))
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.fault("T10")
def test_an_update_without_a_finite_loss_changes_nothing_but_the_step(start: TrainState) -> None:
    (after, _), *_ = run(settings(), start, 1)
    broken = replace(after, model=jax.tree.map(lambda x: x * jnp.nan, after.model))
    for state in (broken, replace(after, model=jax.tree.map(lambda x: x * 1e20, after.model))):
        assert bool(all_finite(state)) == (state is not broken)
        once, metrics = jitted(settings())(state, batch(1))
        twice, again = jitted(settings())(once, batch(2))
        assert (int(metrics.skipped), int(again.skipped), int(twice.step)) == (1, 2, 3)
        assert_equal(replace(twice, step=state.step, skipped=state.skipped), state)
    _, metrics = jitted(settings())(replace(after, skipped=jnp.asarray(7, jnp.int32)), batch(1))
    assert metrics.skipped == 0
