"""Saves and restores checkpoints, which contain all that is needed to resume a run. Only this file calls Orbax.

    checkpoints/STEP/state/          the arrays, in the format of Orbax
    checkpoints/STEP/manifest.json   the versions of the format and of this package; the step, and the progress of the
                                     run; its environment; the sha256 of its tokenizers, corpora and initial model, of
                                     each file of the checkpoint, and of the rest of the manifest

Manifests of older formats are converted when they are read (`_upgraded`). Unknown fields of the progress are ignored;
missing ones get their defaults.

A checkpoint is written under a temporary name, flushed to the disk, and renamed when it is complete. So a directory
whose name is a step was complete once. The manifest shows whether its files have changed since then, because Orbax does
not detect flipped bits.
"""

import errno
import logging
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from orbax.checkpoint import v1 as orbax
from pydantic import TypeAdapter

from transformer.errors import ResourceError, UsageError
from transformer.files.atomic import UNFINISHED, put_directory, recover_directory
from transformer.files.manifest import NAME as MANIFEST
from transformer.files.manifest import find_damage, unseal, write_manifest
from transformer.model.parameters import named, with_values
from transformer.run.run_dir import checkpoint_steps
from transformer.version import package_version, which_version

Tree = TypeVar("Tree")
log = logging.getLogger(__name__)
REPLACED, DAMAGED = ".replaced", ".damaged"
FORMAT = 2


@dataclass(frozen=True)
class TrainingProgress:
    """The progress of a run that is not part of TrainState.

    Fields are stored by name. A new field needs a default, for checkpoints that lack the field. A renamed field needs a
    line in `_upgraded` and a new FORMAT.
    """

    best: float | None = None  # best value of the chosen metric (`quality`); higher is better
    best_step: int = 0
    without_better: int = 0  # number of validations since `best_step`
    measure: str = ""  # what `best` measures: the metric, and the content of the corpora
    validated: int = 0  # the step of the last validation
    pending: list[dict[str, float]] = field(default_factory=list)  # metrics of the updates since the last logged line
    pending_seconds: float = 0.0  # the time that these updates took


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, as its manifest describes it."""

    format: int
    version: str  # of this package
    step: int
    progress: TrainingProgress
    environment: dict[str, Any]  # versions, devices and options when it was written
    origin: dict[str, str]  # sha256 of the tokenizers and training corpora that its weights belong to


class Checkpoints:
    """The checkpoints of a run, one directory per step. The latest `keep` and that of the best model are kept."""

    def __init__(self, directory: Path, keep: int):
        """Makes the directory if needed, and removes incomplete checkpoints, which a killed process left there."""
        _ignore_late_writes()
        self.directory, self.keep = directory.absolute(), keep
        self._saves = 0
        self.directory.mkdir(parents=True, exist_ok=True)
        self._clear()

    @property
    def steps(self) -> list[int]:
        return checkpoint_steps(self.directory)

    def save(
        self, step: int, state: Any, progress: TrainingProgress, environment: dict[str, Any], origin: dict[str, str]
    ) -> None:
        """Saves the state as the checkpoint of `step`, and then removes old checkpoints.

        Raises ResourceError if the checkpoint cannot be written; in this case, no checkpoint is removed.
        """
        self._saves += 1  # a new name for every save, because Orbax may still write after a save has failed
        place, unfinished = self.directory / str(step), self.directory / f"{step}{UNFINISHED}{self._saves}"
        needed, free = sum(x.nbytes for x in jax.tree.leaves(state)), 0
        try:
            free = shutil.disk_usage(self.directory).free
            if free < needed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._clear()
            unfinished.mkdir()
            arrays = jax.device_get(named(state))  # Orbax takes three times as long for arrays on a device
            orbax.save(unfinished / "state", arrays)
            checkpoint = Checkpoint(FORMAT, package_version(), step, progress, environment, origin)
            write_manifest(unfinished, asdict(checkpoint))
            put_directory(unfinished, place, self.directory / f"{step}{REPLACED}")
        except (OSError, ValueError) as problem:  # Orbax raises ValueError for a full disk
            recover(self.directory)
            shutil.rmtree(unfinished, ignore_errors=True)
            raise ResourceError(
                f"{self.directory}: the checkpoint of step {step} cannot be written: {_reason(problem)}"
                f" ({needed / 1e6:,.2f} MB are needed, {free / 1e6:,.2f} free);"
                " free some space, and run the same command again"
            ) from problem
        self._remove_old(progress)

    def restore(self, state: Tree) -> tuple[Tree, Checkpoint] | None:
        """Loads the newest undamaged checkpoint, with the structure and on the devices of `state`.

        Returns None if there are no checkpoints. Renames newer ones that are damaged. Raises UsageError if all are
        damaged, or if the loaded one has arrays with other names or shapes than `state`.
        """
        newest = self._newest()
        if newest is None:
            return None
        place = self.directory / str(newest.step)
        shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) for name, x in named(state).items()}
        _check_arrays(place, {name: x.shape for name, x in shapes.items()})
        values = orbax.load(place / "state", shapes)
        return with_values(state, values), newest

    def _newest(self) -> Checkpoint | None:
        reasons = {}
        for step in reversed(self.steps):
            found = _read(self.directory / str(step), step)
            if isinstance(found, Checkpoint):
                for damaged, reason in reasons.items():
                    log.warning("checkpoint %d is damaged (%s); using %d", damaged, reason, step)
                    place = self.directory / str(damaged)
                    os.rename(place, _free(place, DAMAGED))
                return found
            reasons[step] = found
        if reasons:
            listed = "; ".join(f"{step}: {reason}" for step, reason in reasons.items())
            raise UsageError(f"{self.directory}: every checkpoint is damaged ({listed}); restore one, or remove all")
        return None

    def _clear(self) -> None:
        for leftover in self.directory.glob(f"*{UNFINISHED}*"):
            if re.fullmatch(rf"\d+{UNFINISHED}\d*", leftover.name):
                shutil.rmtree(leftover, ignore_errors=True)

    def _remove_old(self, progress: TrainingProgress) -> None:
        for step in self.steps[: -self.keep]:
            if step != progress.best_step:
                place = self.directory / str(step)
                aside = _free(place, UNFINISHED)  # renamed first: a directory with a step as its name must be complete
                os.rename(place, aside)
                shutil.rmtree(aside)


@cache
def _ignore_late_writes() -> None:
    """Hides the tracebacks of writes that are still pending when Orbax closes its event loop after a failed write."""
    original_hook = sys.unraisablehook

    def hook(problem: "sys.UnraisableHookArgs") -> None:
        if not (isinstance(problem.exc_value, RuntimeError) and str(problem.exc_value) == "Event loop is closed"):
            original_hook(problem)

    sys.unraisablehook = hook


def recover(directory: Path) -> None:
    """Completes or reverts a save that was interrupted while it replaced a checkpoint."""
    for old in directory.glob(f"*{REPLACED}"):
        recover_directory(old.with_suffix(""), old)


def _check_arrays(place: Path, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raises UsageError if the arrays of a checkpoint have other names or shapes than the expected arrays."""
    saved = {name: tuple(x.shape) for name, x in orbax.metadata(place / "state").metadata.items()}
    for name in sorted({*saved, *expected}):
        if name not in saved:
            fault = f"lacks the array {name}"
        elif name not in expected:
            fault = f"has an array {name}, which this run does not have"
        elif saved[name] != expected[name]:
            fault = f"has the array {name} with the shape {saved[name]}, not {expected[name]}"
        else:
            continue
        raise UsageError(
            f"{place}: this checkpoint {fault}; it belongs to another model or version: resume with the settings and"
            " the version of this package that wrote it"
        )


def read_arrays(directory: Path, step: int, part: str) -> dict[str, np.ndarray]:
    """Returns the arrays of one part of a saved state, such as `model`, by their names without the prefix `model.`.

    Changes no files. Raises UsageError if the checkpoint is damaged, or if a training process in the same directory
    removes it during the read.
    """
    place = directory.absolute() / str(step)
    try:
        found = _read(place, step)
        if isinstance(found, str):
            raise UsageError(f"{place}: this checkpoint is damaged ({found}); choose others, or move it elsewhere")
        saved = orbax.metadata(place / "state").metadata
        wanted = {name: np.empty(x.shape, x.dtype) for name, x in saved.items() if name.startswith(f"{part}.")}
        loading = orbax.options.PyTreeOptions.Loading(partial_load=True)
        with orbax.Context(pytree_options=orbax.options.PyTreeOptions(loading=loading)):
            values = orbax.load(place / "state", wanted)
    finally:
        if not place.exists():  # then any error above was caused by missing files
            raise UsageError(
                f"{place}: a training process has just removed this checkpoint; run the same command again"
            )
    return {name.removeprefix(f"{part}."): value for name, value in values.items()}


def newest_manifest(directory: Path) -> Checkpoint | None:
    """Returns the newest checkpoint whose manifest can be read, or None. Does not check the files of the checkpoint.

    Raises UsageError if a manifest has a newer format.
    """
    read = (_read(directory / str(step), step, check_files=False) for step in reversed(checkpoint_steps(directory)))
    return next((one for one in read if isinstance(one, Checkpoint)), None)


def _read(directory: Path, step: int, *, check_files: bool = True) -> Checkpoint | str:
    """Returns the checkpoint, or the reason why it is damaged. Raises UsageError if its format is newer."""
    path = directory / MANIFEST
    try:
        content = unseal(path.read_text(encoding="utf8"))
        written = content.get("format", 1)
        if type(written) is not int or written < 1:
            raise ValueError(f"its format is {written!r}")
        if written > FORMAT:
            raise UsageError(
                f"{path}: checkpoint format {written}, this version reads up to {FORMAT}; {which_version(content)}"
            )
        found = TypeAdapter(Checkpoint).validate_python(_upgraded(content) if written == 1 else content)
        problem = find_damage(directory, content["files"]) if check_files else None
    except OSError as error:
        return f"manifest.json: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"manifest.json: {' '.join(str(error).split())}"
    if problem is None and found.step != step:
        return f"manifest.json: is of step {found.step}"
    return problem or found


def _upgraded(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a manifest of format 1, which stores metrics and mesh axes as lists without names, to the fields of
    format 2. Its field `format` stays 1."""
    metrics = ("kl", "nll", "tokens", "gradient_norm", "learning_rate", "skipped")
    progress, environment = dict(manifest["progress"]), dict(manifest["environment"])
    # "untold" and "untold_seconds" are the names in format 1
    progress["pending"] = [dict(zip(metrics, row, strict=True)) for row in progress.pop("untold")]
    progress["pending_seconds"] = progress.pop("untold_seconds")
    if "mesh" in environment:
        environment["mesh"] = dict(zip(("data", "fsdp", "tensor"), environment["mesh"], strict=True))
    names = [name for name in ("tokenizers", "training corpora") if name in environment]
    origin = {name: environment.pop(name) for name in names}
    return {"version": "", **manifest, "format": 1, "progress": progress, "environment": environment, "origin": origin}


def _reason(problem: OSError | ValueError) -> str:
    """Returns the reason that the operating system gave, without the rest of the long message of Orbax."""
    code = re.search(r"os_error_code='(\d+)'", str(problem))
    number = problem.errno if isinstance(problem, OSError) else code and int(code[1])
    return os.strerror(number) if number else " ".join(str(problem).split())


def _free(place: Path, suffix: str) -> Path:
    """Returns an unused path beside `place`, with the suffix, and a number if necessary."""
    names = (place.with_name(f"{place.name}{suffix}{number or ''}") for number in count())
    return next(name for name in names if not name.exists())
