"""Checkpoints: what resuming needs, through Orbax. All calls of Orbax are here.

    checkpoints/STEP/state/          the arrays, as Orbax writes them
    checkpoints/STEP/manifest.json   the step, what else a run remembers, and the sha256 of each file and of itself

A checkpoint is written under another name, flushed to the disk, and renamed when it is whole. So what carries the
number of a step was whole once, and the manifest tells whether it still is: Orbax alone takes flipped bits for weights.
"""

import errno
import logging
import os
import re
import shutil
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from orbax.checkpoint import v1 as orbax

from transformer.checksums import checksums, damage, sealed, to_disk, unsealed
from transformer.errors import SystemProblem, UsageError
from transformer.model.parameters import named, with_values

Tree = TypeVar("Tree")
log = logging.getLogger(__name__)
UNFINISHED, REPLACED, DAMAGED = ".unfinished", ".replaced", ".damaged"


class Progress(NamedTuple):
    """What a run remembers beside the state of the training."""

    best: float | None = None  # of the chosen metric so far, higher is better
    best_step: int = 0
    without_better: int = 0  # validations since then
    measure: str = ""  # what `best` is of
    validated: int = 0  # the step of the last validation
    untold: Sequence[Sequence[float]] = ()  # the metrics of each update since the last line, as Meter has them
    untold_seconds: float = 0.0  # that these updates took


class Checkpoint(NamedTuple):
    """One that is whole."""

    step: int
    progress: Progress
    environment: dict[str, Any]  # in which it was written


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

    def save(self, step: int, state: Any, progress: Progress, environment: dict[str, Any]) -> None:
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
                "step": step,
                "progress": progress._asdict(),
                "environment": environment,
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

        Damaged ones are put aside. Raises UsageError where all are damaged.
        """
        newest = self._newest()
        if newest is None:
            return None
        shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) for name, x in named(state).items()}
        values = orbax.load(self.directory / str(newest.step) / "state", shapes)
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


def steps_in(directory: Path) -> list[int]:
    """The steps that have a checkpoint there, in order; none where there is no directory."""
    names = [path.name for path in directory.glob("*") if path.is_dir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and str(int(name)) == name)


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


def _read(directory: Path, step: int) -> Checkpoint | str:
    """The checkpoint, or what is wrong with it."""
    try:
        manifest = unsealed((directory / "manifest.json").read_text(encoding="utf8"))
        found = Checkpoint(int(manifest["step"]), Progress(**manifest["progress"]), dict(manifest["environment"]))
        problem = damage(directory, manifest["files"])
    except OSError as error:
        return f"manifest.json: {error.strerror}"
    except ValueError as error:
        return f"manifest.json: {error}"
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"manifest.json: {error!r}"
    if problem is None and found.step != step:
        return f"manifest.json: is of step {found.step}"
    return found if problem is None else problem


def _reason(problem: OSError | ValueError) -> str:
    """What the system said, in a few words; Orbax gives it inside of a long text."""
    code = re.search(r"os_error_code='(\d+)'", str(problem))
    number = problem.errno if isinstance(problem, OSError) else code and int(code[1])
    return os.strerror(number) if number else " ".join(str(problem).split())


def _free(place: Path, suffix: str) -> Path:
    """A name beside `place` that nothing has yet."""
    names = (place.with_name(f"{place.name}{suffix}{number or ''}") for number in range(1 << 20))
    return next(name for name in names if not name.exists())
