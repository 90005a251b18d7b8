"""The mean of the weights of several checkpoints, often a better model than each of them (Vaswani et al. 2017, 6.1).

A run is only read, since a training may be at work in it.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from transformer import config_file
from transformer.config import Config, Train
from transformer.data.tokenizer import Tokenizers
from transformer.errors import UsageError
from transformer.model.parameters import named, with_values
from transformer.model.transformer import Transformer
from transformer.model_dir import Card, load_model
from transformer.training.checkpoint import read_arrays
from transformer.training.run_dir import steps_in
from transformer.training.validation import quality


def read_config(run: Path) -> Config:
    """The settings of a run. Raises UsageError where there is no run."""
    path = run / "config.toml"
    if not path.is_file():
        raise UsageError(f"{run}: not a run directory, it has no config.toml; name one in which a model was trained")
    return config_file.load(path)


def newest_steps(run: Path, count: int, settings: Train) -> list[int]:
    """The latest steps that have a checkpoint, in order. Raises UsageError where there are fewer."""
    steps = steps_in(run / "checkpoints")
    _check_count(run, steps, count, settings, "checkpoints")
    return steps[-count:]


def best_steps(run: Path, count: int, settings: Train) -> list[int]:
    """The steps with the best validations, the earlier where two are equal, among those that have a checkpoint.

    In order of time. Raises UsageError where there are fewer.
    """
    qualities = _qualities(run / "metrics.jsonl", settings)
    steps = [step for step in steps_in(run / "checkpoints") if step in qualities]
    _check_count(run, steps, count, settings, "validated checkpoints")
    return sorted(sorted(steps, key=lambda step: -qualities[step])[:count])


def average(run: Path, steps: Sequence[int], config: Config) -> tuple[Transformer, Tokenizers, Card]:
    """A model whose weights are the mean of those at the steps: the weights that validation uses, moving averages
    where the run has them.

    Summed in float64, one checkpoint in memory at a time. Raises UsageError for a checkpoint that is damaged, or does
    not fit the model of the run.
    """
    model, tokenizers, card = load_model(run)
    shapes = {name: array.shape for name, array in named(model).items()}
    sums = {name: np.zeros(shape, np.float64) for name, shape in shapes.items()}
    part = "average" if config.train.ema_decay else "model"
    for step in steps:
        values = read_arrays(run / "checkpoints", step, part)
        if shapes != {name: value.shape for name, value in values.items()}:
            raise UsageError(
                f"{run}: checkpoint {step} is of another model than {run / 'model'}; put back the run's own"
            )
        for name, value in values.items():
            sums[name] += value
    means = {name: (total / len(steps)).astype(np.float32) for name, total in sums.items()}
    now = {"model": config.model, "decode": config.decode, "about": config.about, "weights": "float32"}
    return with_values(model, means), tokenizers, card.model_copy(update=now)  # as a training would save it


def _qualities(path: Path, settings: Train) -> dict[int, float]:
    """By step, what each validation that is told in a metrics.jsonl has found: higher is better."""
    found: dict[int, float] = {}
    if path.exists():
        for line in path.read_text(encoding="utf8", errors="replace").splitlines():
            # Passed over: lines about updates, one that is not whole, and numbers that were not finite, which are null.
            with suppress(ValueError, KeyError, TypeError):
                metrics = json.loads(line)
                found[metrics["step"]] = quality(metrics, settings)
    return found


def _check_count(run: Path, steps: Sequence[int], count: int, settings: Train, what: str) -> None:
    if len(steps) < count:
        told = ", ".join(map(str, steps)) or "none"
        raise UsageError(
            f"{run}: {count} {what} are wanted, and there are {len(steps)} ({told}); ask for fewer, or train on with"
            f" train.keep large enough: it is {settings.keep}, so many of the latest are kept, and the best"
        )
