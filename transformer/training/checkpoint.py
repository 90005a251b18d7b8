"""Checkpoints: what resuming needs, through Orbax. All calls of Orbax are here.

    checkpoints/STEP/state/          the arrays, as Orbax writes them
    checkpoints/STEP/manifest.json   format version, version of this package, the step, the progress of the run (by
                                     name), and the sha256 of each file and of itself

Older formats are converted when read (`_upgraded`). Unknown names are ignored; missing ones get their defaults.

A checkpoint is written under another name, flushed to the disk, and renamed when it is whole. So what carries the
number of a step was whole once, and the manifest tells whether it still is: Orbax alone takes flipped bits for weights.
"""

import errno
import logging
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from orbax.checkpoint import v1 as orbax

from transformer.checksums import checksums, damage, sealed, to_disk, unsealed
from transformer.errors import SystemProblem, UsageError
from transformer.model.parameters import named, with_values
from transformer.model_dir import package_version, which_version
from transformer.training.run_dir import steps_in

Tree = TypeVar("Tree")
log = logging.getLogger(__name__)
UNFINISHED, REPLACED, DAMAGED = ".unfinished", ".replaced", ".damaged"
FORMAT = 2


@dataclass(frozen=True)
class Progress:
    """The progress of a run that is not part of TrainState.

    Stored by the names of the fields: one that is added needs a default, for checkpoints that lack it; one that is
    renamed needs a line in `_upgraded`, and a new FORMAT.
    """

    best: float | None = None  # of the chosen metric so far, higher is better
    best_step: int = 0
    without_better: int = 0  # validations since then
    measure: str = ""  # what `best` measures: the metric, and the content of the corpora
    validated: int = 0  # the step of the last validation
    pending: list[dict[str, float]] = field(default_factory=list)  # metrics of the updates since the last line, by name
    pending_seconds: float = 0.0  # that these updates took


class Checkpoint(NamedTuple):
    """A checkpoint that is complete and undamaged."""

    step: int
    format: int
    progress: Progress
    environment: dict[str, Any]  # in which it was written
    origin: dict[str, str]  # sha256 of what its weights belong to: tokenizers, training corpora


class Checkpoints:
    """The checkpoints of a run, a directory a step: the latest `keep`, and that of the best model."""

    def __init__(self, directory: Path, keep: int):
        """Clears away what a process that was killed has left half done."""
        _spare_late_writes()
        self.directory, self.keep = directory.absolute(), keep
        self._saves = 0
        self.directory.mkdir(parents=True, exist_ok=True)
        self._clear()

    @property
    def steps(self) -> list[int]:
        return steps_in(self.directory)

    def save(
        self, step: int, state: Any, progress: Progress, environment: Mapping[str, Any], origin: Mapping[str, str]
    ) -> None:
        """Writes the state under its step, and lets go of older ones. Raises SystemProblem; those there stay."""
        self._saves += 1  # no name twice: when a save has failed, late writes of Orbax may still come
        place, unfinished = self.directory / str(step), self.directory / f"{step}{UNFINISHED}{self._saves}"
        needed, free = sum(x.nbytes for x in jax.tree.leaves(state)), 0
        try:
            free = shutil.disk_usage(self.directory).free
            if free < needed:  # better not begun
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._clear()
            unfinished.mkdir()
            orbax.save(unfinished / "state", named(state))
            manifest = {
                "format": FORMAT,
                "version": package_version(),
                "step": step,
                "progress": asdict(progress),
                "environment": dict(environment),
                "origin": dict(origin),
                "files": checksums(unfinished, flush=True),
            }
            (unfinished / "manifest.json").write_text(sealed(manifest), encoding="utf8")
            to_disk(unfinished / "manifest.json")
            if place.exists():  # what was left for later has been done: at no moment is there neither
                os.rename(place, self.directory / f"{step}{REPLACED}")
            os.rename(unfinished, place)
            to_disk(self.directory)
            recover(self.directory)
        except (OSError, ValueError) as problem:  # Orbax has a ValueError for a full disk
            recover(self.directory)
            shutil.rmtree(unfinished, ignore_errors=True)
            raise SystemProblem(
                f"the checkpoint of step {step} cannot be saved in {self.directory}: {_reason(problem)}"
                f" ({needed / 1e6:,.2f} MB are needed, {free / 1e6:,.2f} free);"
                " make room, and run the same command again"
            ) from problem
        self._let_go(progress)

    def restore(self, state: Tree) -> tuple[Tree, Checkpoint] | None:
        """The newest checkpoint that is whole, in the structure and on the devices of `state`; None: there is none.

        Damaged ones are put aside. Raises UsageError where all are damaged, or the newest has other arrays.
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
            told = "; ".join(f"{step}: {reason}" for step, reason in reasons.items())
            raise UsageError(f"{self.directory}: every checkpoint is damaged ({told}); restore one, or remove them all")
        return None

    def _clear(self) -> None:
        for leftover in self.directory.glob(f"*{UNFINISHED}*"):
            if re.fullmatch(rf"\d+{UNFINISHED}\d*", leftover.name):
                shutil.rmtree(leftover, ignore_errors=True)

    def _let_go(self, progress: Progress) -> None:
        for step in self.steps[: -self.keep]:
            if step != progress.best_step:
                self._remove(step)

    def _remove(self, step: int) -> None:
        """At once, so that no half of it carries the name."""
        aside = _free(self.directory / str(step), UNFINISHED)
        os.rename(self.directory / str(step), aside)
        shutil.rmtree(aside)


@cache
def _spare_late_writes() -> None:
    """Where a write fails, Orbax closes its event loop, and each that is still under way has a traceback for it."""
    told = sys.unraisablehook

    def hook(problem: "sys.UnraisableHookArgs") -> None:
        if not (isinstance(problem.exc_value, RuntimeError) and str(problem.exc_value) == "Event loop is closed"):
            told(problem)

    sys.unraisablehook = hook


def recover(directory: Path) -> None:
    """Ends what a save began that was cut off when it replaced a checkpoint."""
    for before in directory.glob(f"*{REPLACED}"):
        place = before.with_suffix("")
        if place.exists():
            shutil.rmtree(before)
        else:
            os.rename(before, place)


def _check_arrays(place: Path, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raises UsageError where the arrays of a checkpoint are not those of the state that this version trains."""
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
    """The arrays of one part of a saved state, such as `model`, by their names in it. The directory stays as it is.

    Raises UsageError where the checkpoint is damaged, or goes away meanwhile: a training may be at work there.
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
        if not place.exists():  # whatever came of it: the files may have gone before they were read
            raise UsageError(f"{place}: a training let go of this checkpoint meanwhile; run the same command again")
    return {name.removeprefix(f"{part}."): value for name, value in values.items()}


def newest_manifest(directory: Path) -> Checkpoint | None:
    """The newest checkpoint whose manifest can be read; its other files are not looked at. Raises UsageError."""
    found = (_read(directory / str(step), step, check_files=False) for step in reversed(steps_in(directory)))
    return next((one for one in found if isinstance(one, Checkpoint)), None)


def _read(directory: Path, step: int, *, check_files: bool = True) -> Checkpoint | str:
    """The checkpoint, or what is wrong with it. Raises UsageError for one of a newer format."""
    path = directory / "manifest.json"
    try:
        content = unsealed(path.read_text(encoding="utf8"))
        written = content.get("format", 1)
        if type(written) is not int or written < 1:
            raise ValueError(f"its format is {written!r}")
        if written > FORMAT:
            raise UsageError(
                f"{path}: checkpoint format {written}, this version reads up to {FORMAT}; {which_version(content)}"
            )
        manifest = _upgraded(content) if written == 1 else content
        known = {one.name for one in fields(Progress)}
        progress = Progress(**{name: value for name, value in manifest["progress"].items() if name in known})
        found = Checkpoint(
            int(manifest["step"]), written, progress, dict(manifest["environment"]), dict(manifest["origin"])
        )
        problem = damage(directory, manifest["files"]) if check_files else None
    except OSError as error:
        return f"manifest.json: {error.strerror}"
    except ValueError as error:
        return f"manifest.json: {error}"
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"manifest.json: {error!r}"
    if problem is None and found.step != step:
        return f"manifest.json: is of step {found.step}"
    return found if problem is None else problem


def _upgraded(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a manifest of format 1, which stores metrics and mesh axes as lists without names, to format 2."""
    metrics = ("kl", "nll", "tokens", "gradient_norm", "learning_rate", "skipped")
    progress, environment = dict(manifest["progress"]), dict(manifest["environment"])
    progress["pending"] = [dict(zip(metrics, row, strict=True)) for row in progress.pop("untold")]
    progress["pending_seconds"] = progress.pop("untold_seconds")
    if "mesh" in environment:
        environment["mesh"] = dict(zip(("data", "fsdp", "tensor"), environment["mesh"], strict=True))
    names = [name for name in ("tokenizers", "training corpora") if name in environment]
    origin = {name: environment.pop(name) for name in names}
    return {**manifest, "progress": progress, "environment": environment, "origin": origin}


def _reason(problem: OSError | ValueError) -> str:
    """What the system said, in a few words; Orbax gives it inside of a long text."""
    code = re.search(r"os_error_code='(\d+)'", str(problem))
    number = problem.errno if isinstance(problem, OSError) else code and int(code[1])
    return os.strerror(number) if number else " ".join(str(problem).split())


def _free(place: Path, suffix: str) -> Path:
    """A name beside `place` that nothing has yet."""
    names = (place.with_name(f"{place.name}{suffix}{number or ''}") for number in range(1 << 20))
    return next(name for name in names if not name.exists())
