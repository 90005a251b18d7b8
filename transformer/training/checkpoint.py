"""Checkpoints: what resuming needs, through Orbax. All calls of Orbax are here."""

import logging
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import jax
from orbax.checkpoint import v1 as orbax

from transformer.model.parameters import named, with_values

Tree = TypeVar("Tree")
log = logging.getLogger(__name__)
policies = orbax.training.preservation_policies


class Progress(NamedTuple):
    """What a run remembers beside the state of the training."""

    best: float | None = None  # of the chosen metric so far, higher is better
    best_step: int = 0
    without_better: int = 0  # validations since then


class Checkpoints:
    """The checkpoints of a run, a directory a step: the latest `keep`, and the best."""

    def __init__(self, directory: Path, keep: int):
        best = policies.BestN(
            get_metric_fn=lambda metrics: metrics["quality"], n=1, keep_checkpoints_without_metrics=False
        )
        self._checkpointer = orbax.training.Checkpointer(
            directory.absolute(),
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
            cleanup_tmp_directories=True,  # left by a process that was killed while it saved
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._checkpointer.close()

    @property
    def steps(self) -> list[int]:
        return [checkpoint.step for checkpoint in self._checkpointer.checkpoints]

    def save(self, step: int, state: Any, progress: Progress, quality: float | None) -> None:
        """Writes the state under its step. `quality` is that of a validation at this step, higher is better."""
        metrics = None if quality is None else {"quality": quality}
        self._checkpointer.save(
            step, named(state), metrics=metrics, custom_metadata=dict(progress._asdict()), overwrite=True
        )

    def restore(self, state: Tree) -> tuple[Tree, Progress] | None:
        """The newest checkpoint that can be read, in the structure and on the devices of `state`; None: there is none.

        `state` holds arrays, or their shapes with shardings.
        """
        shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) for name, x in named(state).items()}
        for step in sorted(self.steps, reverse=True):
            try:
                values = self._checkpointer.load(step, shapes)
                known = self._checkpointer.metadata(step).custom_metadata
            except (ValueError, OSError) as problem:
                reason = str(problem).splitlines()[0]
                log.warning("checkpoint %d cannot be read, looking for the one before: %s", step, reason)
                continue
            return with_values(state, values), Progress(**known)
        return None
