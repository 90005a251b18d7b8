"""Training under faults: whatever stops it, the same command ends with the model of a run that was not stopped.

Each test bears the id of its fault in docs/reliability.md. Where a process has to die, an exception that nothing
catches stands for it, so that a run can die at many places in one test; tests/test_training.py kills real processes.
"""

import logging
import math
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as orbax
from safetensors.numpy import load_file

from runs import Death, all_but_speed, dying_after, ended, files_of_at_most, metrics, model_bytes, small, start
from transformer.data import tokenizer_training
from transformer.data.tokenizer import Tokenizers
from transformer.errors import DivergenceError, Interrupted, Preempted, ResourceError, UsageError
from transformer.run import hooks, trainer
from transformer.run.checkpoints import Checkpoints
from transformer.run.trainer import train
from transformer.training import loop

pytestmark = pytest.mark.mixed_dtypes

SHORT = {
    "train__steps": 12,
    "train__eval_every": 6,
    "train__save_every": 4,
    "train__log_every": 5,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing has stopped."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    train(small(directory, **SHORT))
    return directory


@pytest.fixture
def run(tmp_path: Path, whole: Path) -> Path:
    """A run directory that has not begun, with the corpus prepared."""
    shutil.copytree(whole / "data", tmp_path / "run" / "data")
    return tmp_path / "run"


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


@pytest.mark.fault("T05")
def test_with_a_damaged_checkpoint_the_run_ends_the_same(
    run: Path, whole: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stop_at(run, 10)
    largest = max((run / "checkpoints" / "8").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 64
    largest.write_bytes(content)
    with caplog.at_level(logging.INFO, logger="transformer"):
        go_on(run)
    assert "sha256 differs); using 6" in caplog.text
    assert "resumed from step 6 (4 lost steps" in caplog.text
    shutil.rmtree(run / "checkpoints" / "8.damaged")
    assert_as_whole(run, whole)


@pytest.mark.fault("T08")
def test_changed_settings_on_the_way(run: Path) -> None:
    stop_at(run, 5)
    with pytest.raises(UsageError, match=r"train.steps: 12 -> 13\); set them back, resume with --allow-config-change"):
        go_on(run, train__steps=13)
    train(small(run, **SHORT | {"train__steps": 13}), allow_changes=True)
    assert [line["step"] for line in metrics(run) if "loss" in line] == [5, 10, 13]


@pytest.mark.fault("T09")
def test_a_changed_corpus_on_the_way(tmp_path: Path) -> None:
    lines = [f"a {'b ' * (number % 7)}c\n" for number in range(200)]
    for split, side in (("train", "en"), ("train", "de"), ("valid", "en"), ("valid", "de")):
        (tmp_path / f"{split}.{side}").write_text("".join(lines))
    changes = {"data__train": [str(tmp_path / "train")], "data__valid": [str(tmp_path / "valid")]}
    changes |= {"tokenizer__vocab_size": 270, "train__eval_every": 12}
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Death):
        dying_after(patch, 5)
        go_on(run, **changes)
    before = {path: path.read_bytes() for path in (run / "data").rglob("*") if path.is_file()}
    (tmp_path / "train.de").write_text("".join([lines[1], lines[0], *lines[2:]]))
    with pytest.raises(UsageError, match=rf"{tmp_path}/train has changed since this run started"):
        go_on(run, **changes)
    assert before == {path: path.read_bytes() for path in (run / "data").rglob("*") if path.is_file()}
    shutil.rmtree(run / "data")
    with pytest.raises(UsageError, match="the checkpoint of step 4 belongs to other training corpora; put back"):
        go_on(run, **changes)


@pytest.mark.fault("T09")
def test_other_tokenizers_on_the_way(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(run, 5)
    digest = Tokenizers.digest.fget
    monkeypatch.setattr(Tokenizers, "digest", property(lambda self: digest(self) + "another"))
    with pytest.raises(UsageError, match="the checkpoint of step 4 belongs to other tokenizers; put back"):
        go_on(run)


@pytest.mark.fault("T08")
def test_fewer_steps_than_are_done(run: Path) -> None:
    stop_at(run, 9)
    with pytest.raises(UsageError, match=r"train.steps = 7: .* is at step 8 already; raise it"):
        train(small(run, **SHORT | {"train__steps": 7}), allow_changes=True)


@pytest.mark.fault("T08")
def test_another_metric_finds_its_own_best(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    stop_at(run, 9)
    with caplog.at_level(logging.INFO, logger="transformer"):
        train(small(run, **SHORT | {"train__best_metric": "nll"}), allow_changes=True)
    assert "finished: the best model, of step 12" in caplog.text


@pytest.mark.fault("T01")
def test_without_a_checkpoint_a_run_begins_again_and_says_so(
    run: Path, whole: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stop_at(run, 11)
    shutil.rmtree(run / "checkpoints")
    go_on(run)
    assert "no checkpoint: the run starts again (10 lost steps are repeated)" in caplog.text
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


@pytest.mark.fault("T10")
def test_a_model_that_is_not_finite_is_not_kept(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "all_finite", lambda state: int(state.step) < 6)
    with pytest.raises(DivergenceError, match="step 6: a weight is NaN or infinite"):
        go_on(run)
    assert not (run / "model").exists()


@pytest.mark.fault("T10")
def test_no_weight_is_ever_infinite_and_a_lower_rate_goes_on(run: Path, whole: Path) -> None:
    with pytest.raises(DivergenceError) as ended:
        go_on(run, train__learning_rate=1e30, train__steps=40, train__schedule="constant", train__warmup_steps=0)
    assert ended.value.exit_code == 5
    assert "updates in a row without a finite loss" in str(ended.value) or "a weight is NaN or infinite" in str(
        ended.value
    )
    for file in run.rglob("*.safetensors"):
        assert all(np.isfinite(tensor).all() for tensor in load_file(file).values())
    assert not Checkpoints(run / "checkpoints", 2).steps  # none of a state after which no update was made
    assert all(math.isfinite(number) for line in metrics(run) for number in line.values() if number is not None)
    go_on(run)
    assert_as_whole(run, whole)


@pytest.mark.fault("T18")
def test_a_failure_while_batches_are_made_ends_the_run_at_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise OSError(5, "Input/output error", "source.ids")

    monkeypatch.setattr(loop, "put_batch", broken)
    with pytest.raises(OSError, match=r"source\.ids"):
        go_on(run)


@pytest.mark.fault("T21")
def test_out_of_memory_names_the_batch_and_the_setting(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")

    monkeypatch.setattr(trainer, "jit_update", lambda *arguments: broken)
    with pytest.raises(ResourceError, match=r"update of \d+ x \d+ target positions; lower train.batch_tokens \(512\)"):
        go_on(run)


@pytest.mark.fault("T24")
def test_a_line_that_was_cut_off_is_written_again(run: Path, whole: Path) -> None:
    stop_at(run, 10)
    content = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(content[:-7])
    go_on(run)
    assert_as_whole(run, whole)
