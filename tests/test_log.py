"""metrics.jsonl and TensorBoard, with and without room for them."""

import json
import logging
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from runs import files_of_at_most
from transformer.config import Train
from transformer.errors import ResourceError
from transformer.run.metrics import MetricsAccumulator, MetricsWriter
from transformer.training.objective import Losses
from transformer.training.update import UpdateMetrics


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def events(run: Path) -> list[Event]:
    """Of every file, read by the format of TFRecord: length, its checksum, content, its checksum."""
    found = []
    for path in sorted((run / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[12 + length + 4 :]
    return found


def test_a_run_that_goes_on_tells_each_step_once(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, 0, 9, 0) as journal:
        for step in (1, 2, 3):
            journal.write(step, {"loss": step / 4, "gradient_norm": math.nan if step == 2 else 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    with MetricsWriter(tmp_path, 2, 9, 2) as journal:
        assert journal.lost == 1
        journal.write(3, {"loss": 0.5})
    told = [(line["step"], line["loss"], line.get("gradient_norm")) for line in lines(tmp_path)]
    assert told == [(1, 0.25, 1.0), (2, 0.5, None), (3, 0.5, None)]
    with MetricsWriter(tmp_path, 7, 9, 7) as journal:
        assert journal.lost == 0


def test_a_validation_that_is_done_again_is_told_once(tmp_path: Path) -> None:
    """The checkpoint of step 6 is from before the validation of step 6."""
    with MetricsWriter(tmp_path, 0, 9, -1) as journal:
        for step in (0, 6):
            journal.write(step, {"loss": 1.0})
            journal.write(step, {"valid_nll": 2.0})
    with MetricsWriter(tmp_path, 6, 9, 0) as journal:
        journal.write(6, {"valid_nll": 3.0})
    told = [(line["step"], line.get("valid_nll")) for line in lines(tmp_path)]
    assert told == [(0, None), (0, 2.0), (6, None), (6, 3.0)]


def test_what_is_no_line_of_ours_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": null}\n[]\n{"step": 1, "loss": 2.0}\nnull\n')
    with MetricsWriter(tmp_path, 3, 9, 0):
        assert lines(tmp_path) == [{"step": 1, "loss": 2.0}]


def test_tensorboard_has_the_same_and_drops_what_is_done_again(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, 0, 9, 0) as journal:
        journal.write(1, {"loss": 0.25, "gradient_norm": math.inf})
    with MetricsWriter(tmp_path, 5, 9, 5) as journal:
        journal.write(6, {"valid_bleu": 37.5})
    told = [
        (event.step, {value.tag: value.simple_value for value in event.summary.value}, event.session_log.status)
        for event in events(tmp_path)
        if not event.file_version
    ]
    begun = 1  # SessionLog.START: TensorBoard then forgets what an earlier file has of this step and later ones
    assert told == [(1, {}, begun), (1, {"loss": 0.25}, 0), (6, {}, begun), (6, {"valid_bleu": 37.5}, 0)]
    assert [event.file_version for event in events(tmp_path) if event.file_version] == ["brain.Event:2"] * 2


@pytest.mark.fault("T03")
def test_lines_wait_for_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with MetricsWriter(tmp_path, 0, 9, 0) as journal:
        with files_of_at_most(50):
            for step in range(1, 9):
                journal.write(step, {"loss": step / 4})
            with pytest.raises(
                ResourceError, match=rf"^{tmp_path}/metrics.jsonl: cannot be written: File too large; free"
            ):
                journal.flush()
        journal.write(9, {"loss": 9 / 4})
        journal.flush()
        assert lines(tmp_path) == [{"step": step, "loss": step / 4} for step in range(1, 10)]


@pytest.mark.fault("T03")
def test_a_training_does_without_tensorboard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), files_of_at_most(1200), MetricsWriter(tmp_path, 0, 9999, 0) as journal:
        for step in range(30):
            journal.write(step, {"a_name_that_is_longer_than_its_line": 1.0})
            journal._tensorboard.flush()
    assert caplog.text.count("written for TensorBoard (File too large)") == 1


FULL = {"kl": 8.0, "nll": 10.0, "tokens": 4.0, "gradient_norm": 1.0, "learning_rate": 0.1, "skipped": 0.0}


@pytest.mark.parametrize("lost", [*FULL, "added", "all"])
def test_metrics_of_an_update_that_another_version_wrote_stop_no_run(tmp_path: Path, lost: str) -> None:
    """What is missing is null in the line that they belong to; what is more is passed over."""
    if lost == "added":
        rows = [{"of_later": 7.0, **dict(reversed(FULL.items()))}]
    else:
        rows = [{name: value for name, value in FULL.items() if lost not in (name, "all")}]
    update = UpdateMetrics(
        Losses(np.float32(4), np.float32(6), np.float32(4)), np.float32(3), np.float32(0.2), np.int32(0)
    )
    with MetricsWriter(tmp_path, 1, 9, 0) as journal:
        MetricsAccumulator(journal, Train(log_every=2), 0.0, rows, 1.0).add(2, update)
    (line,) = lines(tmp_path)
    expected = {"loss": 1.5, "nll": 2.0, "gradient_norm": 2.0, "learning_rate": pytest.approx(0.2), "skipped": 0}
    of = {"kl": ["loss"], "tokens": ["loss", "nll"], "all": ["loss", "nll", "gradient_norm"]}
    for name in of.get(lost, [lost] if lost in ("nll", "gradient_norm") else []):
        expected[name] = None
    assert {name: line[name] for name in expected} == expected
