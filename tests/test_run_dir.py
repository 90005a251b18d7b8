"""The run directory: whose it is, and which settings and corpora may change once it has begun."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runs import ROOT, small

from transformer.config import Config, Mesh
from transformer.config_file import settings
from transformer.errors import UsageError
from transformer.model_dir import clear_leftovers
from transformer.training import run_dir

KEYS = [setting.key for setting in settings()]


def begun(tmp_path: Path) -> Config:
    """A run with a checkpoint, as far as can be seen from outside."""
    config = small(tmp_path / "run")
    (config.directory / "checkpoints" / "10").mkdir(parents=True)
    run_dir.write_run(config, {"train": {"a": "1", "b": "2"}, "valid": {"c": "3"}})
    return config


def changed(config: Config, key: str) -> Config:
    """The config with another value for the key, valid or not."""
    section, _, name = key.rpartition(".")
    holder = getattr(config, section) if section else config
    value: Any = getattr(holder, name)
    match value:
        case bool():
            other: Any = not value
        case int() | float():
            other = value + 1
        case tuple():
            other = (*value, "other")
        case _:
            other = f"{value}x"
    part = holder.model_copy(update={name: other})
    return config.model_copy(update={section: part}) if section else part


def test_t08_every_setting_is_in_one_class() -> None:
    classes = (run_dir.HARMLESS, run_dir.CHANGING, run_dir.FIXED)
    assert sorted(key for keys in classes for key in keys) == sorted(KEYS)


@pytest.mark.parametrize("key", [key for key in KEYS if key != "run_dir"])
def test_t08_what_a_changed_setting_does(tmp_path: Path, key: str) -> None:
    config = begun(tmp_path)
    run_dir.check_settings(config, allow_changes=False)
    other = changed(config, key)
    for allow_changes in (False, True):
        refused = key in run_dir.FIXED or (key in run_dir.CHANGING and not allow_changes)
        if not refused:
            run_dir.check_settings(other, allow_changes=allow_changes)
            continue
        with pytest.raises(UsageError) as failure:
            run_dir.check_settings(other, allow_changes=allow_changes)
        text = str(failure.value)
        assert f"{key}: " in text and " -> " in text and "\n" not in text
        assert ("--allow-config-change" in text) == (key in run_dir.CHANGING)


def test_a_run_without_a_checkpoint_can_become_another(tmp_path: Path) -> None:
    config = begun(tmp_path)
    (config.directory / "checkpoints" / "10").rmdir()
    run_dir.check_settings(changed(config, "model.d_model"), allow_changes=False)
    run_dir.check_corpora(config, {"train": {"a": "other"}, "valid": {}}, allow_changes=False)


def test_t09_changed_corpora_are_noticed(tmp_path: Path) -> None:
    config = begun(tmp_path)
    before = json.loads((config.directory / "data" / "corpora.json").read_text(encoding="utf8"))
    run_dir.check_corpora(config, before, allow_changes=False)
    train = {**before, "train": {"a": "1", "b": "other"}}
    for allow_changes in (False, True):
        with pytest.raises(UsageError, match=r": b has changed since this run began"):
            run_dir.check_corpora(config, train, allow_changes=allow_changes)
    valid = {**before, "valid": {"c": "other"}}
    with pytest.raises(UsageError, match=r": c has changed since this run began"):
        run_dir.check_corpora(config, valid, allow_changes=False)
    run_dir.check_corpora(config, valid, allow_changes=True)


HOLDER = """
import sys, time
from pathlib import Path
from transformer.training.run_dir import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_t07_one_training_a_run_directory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        try:
            assert holder.stdout and holder.stdout.readline() == "held\n"
            told = rf"run: in use by process {holder.pid} on \S+; "
            with pytest.raises(UsageError, match=told), run_dir.hold(tmp_path / "run"):
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
    with run_dir.hold(tmp_path / "run"):  # what a dead process held is free
        assert str(os.getpid()) in (tmp_path / "run" / "lock").read_text(encoding="utf8")


def test_a_run_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "run"
    with pytest.raises(UsageError, match="cannot be made or written: Not a directory"), run_dir.hold(place):
        pass


@pytest.mark.parametrize("present", [("model", "model.new"), ("model.new", "model.old"), ("model", "model.old")])
def test_t06_the_renaming_of_a_model_is_ended(tmp_path: Path, present: tuple[str, ...]) -> None:
    for name in present:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(name)
    clear_leftovers(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    expected = "model" if "model" in present else "model.old"
    assert (tmp_path / "model" / "config.json").read_text() == expected


@pytest.mark.parametrize("name", ["lr[1e-3]", "a]", "a\\b"])
def test_names_that_orbax_reads_otherwise_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="in its path"), run_dir.hold(tmp_path / name / "run"):
        pass
    assert not list(tmp_path.iterdir())


def test_t20_a_run_that_goes_on_elsewhere_is_told(caplog: pytest.LogCaptureFixture) -> None:
    now = run_dir.environment(Mesh())
    with caplog.at_level(logging.INFO, logger="transformer"):
        run_dir.tell_differences(now, now)
        assert not caplog.text
        run_dir.tell_differences({**now, "cpu threads": 64}, now)
    assert f"not bit for bit as without a stop: cpu threads 64 -> {now['cpu threads']}" in caplog.text
