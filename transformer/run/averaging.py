"""Averages the weights of several checkpoints, which often gives a better model (Vaswani et al. 2017, section 6.1).

Nothing in the run directory is changed, because a training may be running in it.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from transformer.config import Config, Train, loading
from transformer.data.tokenizer import Tokenizers
from transformer.errors import UsageError
from transformer.evaluation.bleu_tokenizer import DEFAULT, bleu_tokenizer
from transformer.model.parameters import named, with_values
from transformer.model.transformer import Transformer
from transformer.run.checkpoints import read_arrays
from transformer.run.run_dir import checkpoint_steps, read_metrics, read_recorded
from transformer.training.validation import quality
from transformer.translation.model_config import ModelConfig
from transformer.translation.model_dir import load_model


def read_config(run: Path) -> Config:
    """Reads the config that a run has recorded. Raises UsageError if `run` is not a run directory."""
    path = run / "config.toml"
    if not path.is_file():
        raise UsageError(f"{run}: not a run directory, it has no config.toml; name one in which a model was trained")
    return loading.resolve(read_recorded(path), path)


def newest_steps(run: Path, count: int, settings: Train) -> list[int]:
    """Returns the latest `count` steps with a checkpoint, in ascending order. Raises UsageError if there are fewer."""
    return _first(run, checkpoint_steps(run / "checkpoints")[::-1], count, settings, "checkpoints")


def best_steps(run: Path, count: int, config: Config) -> list[int]:
    """Returns, among the steps that have a checkpoint, the `count` steps with the best validations, in ascending
    order of steps.

    If two validations are equally good, the earlier step is preferred. If BLEU decides, only validations with the
    tokenizer of the config are compared. Raises UsageError if there are fewer steps.
    """
    settings = config.train
    tokenizer = bleu_tokenizer(config.data.target, settings.bleu_tokenizer)
    qualities: dict[int, float] = {}
    for metrics, _ in read_metrics(run / "metrics.jsonl"):
        with suppress(KeyError, TypeError):  # a line about updates, or a metric that was not finite and so is null
            if settings.best_metric != "bleu" or _has_tokenizer(metrics, tokenizer):
                qualities[metrics["step"]] = quality(metrics, settings)
    steps = [step for step in checkpoint_steps(run / "checkpoints") if step in qualities]
    return _first(run, sorted(steps, key=lambda step: -qualities[step]), count, settings, "validated checkpoints")


def _has_tokenizer(metrics: Mapping[str, Any], tokenizer: str) -> bool:
    """Whether the BLEU of a validation was computed with this tokenizer. Versions without signatures used 13a."""
    signature = str(metrics.get("valid_bleu_signature", f"tok:{DEFAULT}"))
    # of MeCab, the version follows the name
    return any(field.startswith(f"tok:{tokenizer}") for field in signature.split("|"))


def _first(run: Path, steps: Sequence[int], count: int, settings: Train, what: str) -> list[int]:
    """Returns the first `count` steps in ascending order; `steps` is in order of preference."""
    if len(steps) < count:
        listed = ", ".join(map(str, sorted(steps))) or "none"
        raise UsageError(
            f"{run}: cannot average {count} {what}, there are {len(steps)} ({listed}); use fewer, or train with a"
            f" larger train.keep: it is {settings.keep}, the number of latest checkpoints that a run keeps"
        )
    return sorted(steps[:count])


def average(run: Path, steps: Sequence[int], config: Config) -> tuple[Transformer, Tokenizers, ModelConfig]:
    """Returns a model whose weights are the mean over the checkpoints of `steps`, its tokenizers and its config.

    The mean is over the weights that validation uses, which are moving averages unless train.ema_decay is 0. The sum is
    in float64, with one checkpoint in memory at a time. Raises UsageError for a checkpoint that is damaged or belongs
    to another model.
    """
    model, tokenizers, _ = load_model(run)
    shapes = {name: array.shape for name, array in named(model).items()}
    sums = {name: np.zeros(shape, np.float64) for name, shape in shapes.items()}
    part = "average" if config.train.ema_decay else "model"
    for step in steps:
        values = read_arrays(run / "checkpoints", step, part)
        if shapes != {name: value.shape for name, value in values.items()}:
            raise UsageError(
                f"{run}: checkpoint {step} belongs to another model than {run / 'model'}; restore the model of this run"
            )
        for name, value in values.items():
            sums[name] += value
    means = {name: (total / len(steps)).astype(np.float32) for name, total in sums.items()}
    return with_values(model, means), tokenizers, ModelConfig.from_config(config, tokenizers)
