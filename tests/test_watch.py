"""What a training tells of its losses when they go wrong."""

import logging
import math

import numpy as np
import pytest

from transformer.errors import DivergenceError
from transformer.run.metrics import SKIPPED_IN_A_ROW, LossMonitor


def noisy(seed: int, updates: int) -> np.ndarray:
    """Losses that fall from 9 to 2, as noisy as those of small batches."""
    falling = 2 + 7 * np.exp(-np.arange(updates) / 300)
    return falling + np.random.default_rng(seed).normal(scale=0.15, size=updates)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.fault("T11")
def test_a_jump_is_told_once_and_noise_never(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    watch = LossMonitor()
    for step, loss in enumerate(noisy(seed, 2000), 1):
        watch.add(step, float(loss), 0)
    assert not caplog.text
    for step in range(2001, 2031):
        watch.add(step, 6.0, 0)
    assert caplog.text.count("the loss has jumped from") == 1
    assert "step 200" in caplog.text or "step 201" in caplog.text


@pytest.mark.fault("T10")
def test_updates_without_a_finite_loss_are_named_and_end_the_training(caplog: pytest.LogCaptureFixture) -> None:
    watch = LossMonitor()
    with caplog.at_level(logging.WARNING):
        for step in range(1, 4):
            watch.add(step, math.nan, step)
        watch.add(4, 2.0, 0)
        for skipped in range(1, SKIPPED_IN_A_ROW):
            watch.add(4 + skipped, math.inf, skipped)
        with pytest.raises(
            DivergenceError, match=f"step 24: {SKIPPED_IN_A_ROW} updates in a row without a finite loss"
        ):
            watch.add(24, math.nan, SKIPPED_IN_A_ROW)
    told = [record.getMessage().split(": ")[1] for record in caplog.records]
    assert told[:4] == ["step 1", "step 2", "step 3", "step 5"]
