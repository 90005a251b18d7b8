"""Faults of a run: a damaged checkpoint, changed settings or corpora, values that are not finite, no memory left."""

import logging
import math
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from runs import Death, dying_after, metrics, small
from short_runs import SHORT, assert_as_whole, go_on, stop_at
from transformer.data.tokenizer import Tokenizers
from transformer.errors import DivergenceError, ResourceError, UsageError
from transformer.run import hooks, trainer
from transformer.run.checkpoints import Checkpoints
from transformer.run.trainer import train
from transformer.training import loop

pytestmark = pytest.mark.mixed_dtypes


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
    numbers = [value for line in metrics(run) for value in line.values() if isinstance(value, int | float)]
    assert numbers and all(map(math.isfinite, numbers))
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
