"""A short run that a test stops and resumes, to be compared with one that nothing stopped."""

import re
from pathlib import Path
from typing import Any

import pytest

from runs import Death, all_but_speed, dying_after, model_bytes, small
from transformer.run.trainer import train

SHORT = {
    "train__steps": 12,
    "train__eval_every": 6,
    "train__save_every": 4,
    "train__log_every": 5,
}


def go_on(run: Path, **changes: Any) -> None:
    train(small(run, **SHORT | changes))


def assert_as_whole(run: Path, whole: Path) -> None:
    assert model_bytes(run) == model_bytes(whole)
    assert all_but_speed(run) == all_but_speed(whole)
    leftovers = [path for path in run.rglob("*") if re.search(r"unfinished|\.new|\.old|tmp", path.name)]
    assert not leftovers


def stop_at(run: Path, step: int) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Death):
        dying_after(patch, step)
        go_on(run)
