"""Training under faults: whatever stops it, the same command ends with the model of a run that was not stopped.

Each test bears the id of its fault in docs/reliability.md. Where a process has to die, an exception that nothing
catches stands for it, so that a run can die at many places in one test; tests/test_training.py kills real processes.
"""

import logging
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from orbax.checkpoint import v1 as orbax

from runs import Death, ended, files_of_at_most, start
from short_runs import SHORT, assert_as_whole, go_on, stop_at
from transformer.data import tokenizer_training
from transformer.errors import Interrupted, Preempted, ResourceError
from transformer.run import hooks, trainer
from transformer.run.checkpoints import Checkpoints
from transformer.training import loop

pytestmark = pytest.mark.mixed_dtypes


@pytest.mark.parametrize("step", [1, 5, 6, 11])
@pytest.mark.fault("T01")
def test_death_between_updates(run: Path, whole: Path, step: int, caplog: pytest.LogCaptureFixture) -> None:
    stop_at(run, step)
    assert not (run / "checkpoints" / "0").exists()  # random weights are not worth a checkpoint
    with caplog.at_level(logging.INFO, logger="transformer"):
        go_on(run)
    if step > 4:
        saved, told = (max(at for at in steps if at <= step) for steps in ((4, 6, 8), (5, 6, 10)))
        assert f"resumed from step {saved} ({told - saved} lost steps" in caplog.text
    assert_as_whole(run, whole)


@pytest.mark.parametrize("name", ["rename", "replace", pytest.param("fsync", marks=pytest.mark.long)])
@pytest.mark.fault("T01")
def test_death_at_each_step_of_saving(run: Path, whole: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dies at the first, second, third ... call, each time after going on where it died before."""
    real: Callable[..., Any] = getattr(os, name)
    calls = deaths = 0

    def dying(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == deaths + 1:
            raise Death
        return real(*arguments, **options)

    monkeypatch.setattr(os, name, dying)
    while True:
        calls = 0
        try:
            go_on(run)
        except Death:
            deaths += 1
            continue
        break
    assert deaths > 2
    assert_as_whole(run, whole)


@pytest.mark.fault("T24")
def test_no_checkpoint_is_on_the_disk_before_the_lines_up_to_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed, wanted, fsync, rename = set(), [], os.fsync, os.rename

    def flushing(descriptor: int) -> None:
        flushed.add((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        fsync(descriptor)

    def renaming(one: Path, two: Path) -> None:
        if Path(two).parent == run / "checkpoints":
            found = (run / "metrics.jsonl").stat()
            wanted.append((found.st_ino, found.st_size))
        rename(one, two)

    monkeypatch.setattr(os, "fsync", flushing)
    monkeypatch.setattr(os, "rename", renaming)
    go_on(run)
    assert wanted and flushed >= set(wanted)


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any, str, int, int], None]]:
    """Sends this process a signal at the n-th call of a function."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def at(holder: Any, name: str, number: int, call: int) -> None:
        real, calls = getattr(holder, name), 0

        def calling(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), number)
            return real(*arguments, **options)

        monkeypatch.setattr(holder, name, calling)

    yield at
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize(
    ("holder", "name", "call", "step"),
    [
        (trainer, "prepare", 1, 0),
        (loop, "put_batch", 5, 3),  # in the thread that is two batches ahead
        (hooks, "validate", 1, 6),
        (hooks, "validate", 2, 12),
        (hooks, "save_model", 1, 6),
        (orbax, "save", 1, 4),
    ],
)
@pytest.mark.fault("T02")
def test_a_signal_saves_and_the_run_goes_on_as_if_nothing_had_been(
    run: Path,
    whole: Path,
    signalled: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    holder: Any,
    name: str,
    call: int,
    step: int,
) -> None:
    signalled(holder, name, signal.SIGTERM, call)
    with pytest.raises(Preempted) as stopped:
        go_on(run)
    assert stopped.value.exit_code == 75
    monkeypatch.undo()
    told = re.search(r"at step (\d+) of 12, saved", str(stopped.value))
    assert told is None if step == 0 else told and int(told[1]) <= step + 1
    if told:
        assert (run / "checkpoints" / told[1] / "manifest.json").exists()
    with caplog.at_level(logging.INFO, logger="transformer"):
        go_on(run)
    assert told is None or f"resumed from step {told[1]} (0 lost steps are repeated)" in caplog.text
    assert_as_whole(run, whole)


@pytest.mark.fault("T02")
def test_a_signal_while_sentencepiece_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(**arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(15)

    monkeypatch.setattr(tokenizer_training.SentencePieceTrainer, "train", train)
    began = time.monotonic()
    with pytest.raises(Preempted):
        go_on(tmp_path / "run")
    assert time.monotonic() - began < 10


@pytest.mark.fault("T02")
def test_ctrl_c_has_a_code_of_its_own(run: Path, signalled: Any) -> None:
    signalled(hooks, "validate", signal.SIGINT, 1)
    with pytest.raises(Interrupted) as stopped:
        go_on(run)
    assert stopped.value.exit_code == 130


def full_disk(monkeypatch: pytest.MonkeyPatch, calls: set[int]) -> None:
    """Some calls of Orbax find the disk full."""
    real, count = orbax.save, 0

    def save(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count in calls:
            raise ValueError("RESOURCE_EXHAUSTED: Failed to write 9 bytes to file 3 [os_error_code='28']")
        return real(*arguments, **options)

    monkeypatch.setattr(orbax, "save", save)


@pytest.mark.fault("T03")
def test_training_goes_on_while_the_disk_is_full(
    run: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full_disk(monkeypatch, {1, 2})
    go_on(run)
    assert caplog.text.count("No space left on device") == 2
    assert_as_whole(run, whole)


@pytest.mark.fault("T02")
def test_a_signal_while_a_save_fails_is_kept_for_the_next_save(
    run: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No run says that it has saved a step that it has not."""
    save = orbax.save

    def full(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(orbax, "save", save)
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("RESOURCE_EXHAUSTED: Failed to write 9 bytes to file 3 [os_error_code='28']")

    monkeypatch.setattr(orbax, "save", full)
    with pytest.raises(Preempted, match="at step 5 of 12, saved"):
        go_on(run)
    assert (run / "checkpoints" / "5" / "manifest.json").exists() and not (run / "checkpoints" / "4").exists()
    go_on(run)
    assert_as_whole(run, whole)


@pytest.mark.parametrize("calls", [{1, 2, 3}, {4}])
@pytest.mark.fault("T03")
def test_what_is_not_saved_never_ends_well(
    run: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, calls: set[int]
) -> None:
    """Three failures in a row, or one at the end: exit code 4. With room, the same command ends as it should."""
    full_disk(monkeypatch, calls)
    with pytest.raises(ResourceError, match=r"step \d+ cannot be written: No space left on device \(.* free\)"):
        go_on(run)
    monkeypatch.undo()
    go_on(run)
    assert_as_whole(run, whole)


@pytest.mark.fault("T03")
def test_a_run_on_a_full_disk_says_so_and_nothing_else(run: Path, whole: Path) -> None:
    """No traceback of Orbax, of TensorBoard or of ours."""
    flags = [word for key, value in SHORT.items() for word in (f"--{key.replace('__', '.')}", str(value))]
    with files_of_at_most(60_000):
        code, told = ended(start(run, *flags))
    assert code == 4
    first, last = [line for line in told.splitlines() if "cannot be" in line]
    assert re.fullmatch(
        r"warning: .*the checkpoint of step 4 cannot be written: File too large \(.*; training continues", first
    )
    assert re.fullmatch(r"error: .*/model: cannot be written: File too large; .*", last)
    assert told.endswith(f"{last}\n")
    assert "Traceback" not in told and "Exception" not in told
    go_on(run)
    assert_as_whole(run, whole)


@pytest.mark.fault("T03")
def test_no_room_for_what_comes_first(tmp_path: Path) -> None:
    with (
        files_of_at_most(1000),
        pytest.raises(ResourceError, match=rf"^{tmp_path}/run: cannot be written: File too"),
    ):
        go_on(tmp_path / "run")


@pytest.mark.fault("T03")
def test_a_model_that_cannot_be_saved(run: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hooks, "save_model", full)
    with pytest.raises(ResourceError, match=r"No space left on device"):
        go_on(run)
    monkeypatch.undo()
    go_on(run)
    assert_as_whole(run, whole)


@pytest.mark.fault("T02")
def test_a_signal_before_a_run_goes_on_names_its_step(run: Path, signalled: Any) -> None:
    stop_at(run, 9)
    signalled(trainer, "prepare", signal.SIGTERM, 1)
    with pytest.raises(Preempted, match="at step 8 of 12, saved"):
        go_on(run)


@pytest.mark.fault("T03")
def test_an_early_end_is_saved_too(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step a validation: the second is no better, and the last of the saves finds no room."""
    few = {"train__patience": 1, "train__eval_every": 1, "train__learning_rate": 1e-9}
    full_disk(monkeypatch, {2, 3})
    with pytest.raises(ResourceError, match="the checkpoint of step 2 cannot be written"):
        go_on(run, **few)
    monkeypatch.undo()
    go_on(run, **few)
    assert Checkpoints(run / "checkpoints", 2).steps == [1, 2]
