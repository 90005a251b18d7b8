"""The run directory: whose it is, and which settings and corpora may change once it has begun."""

import gzip
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runs import ROOT, SMALL, small
from transformer.config import Config
from transformer.config.loading import settings
from transformer.config.section import CHANGES_RESULT, FIXED
from transformer.data.corpus import Corpus, Pair, open_corpus
from transformer.data.prepare import Corpora
from transformer.errors import UsageError
from transformer.files.model_files import clear_leftovers
from transformer.run import resume, run_dir
from transformer.version import package_version

pytestmark = pytest.mark.mixed_dtypes

KEYS = [setting.key for setting in settings()]
CORPORA = Corpora(
    [Corpus("a", lambda: iter([Pair("1", "2")])), Corpus("b", lambda: iter([Pair("3", "4")]))],
    [Corpus("c", lambda: iter([Pair("5", "6")]))],
)


def begun(tmp_path: Path, **changes: Any) -> Config:
    """A run with a checkpoint, as far as can be seen from outside."""
    config = small(tmp_path / "run", **changes)
    (config.directory / "checkpoints" / "10").mkdir(parents=True)
    run_dir.write_records(config, CORPORA)
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


@pytest.mark.fault("T08")
def test_every_setting_is_in_one_class() -> None:
    """The effect of a change stands on the setting: Effect is that of its annotation."""
    assert not [key for key in KEYS if resume.EFFECTS[key] is None]
    assert resume.EFFECTS["train.steps"] is CHANGES_RESULT and resume.EFFECTS["model.d_model"] is FIXED


@pytest.mark.parametrize("key", [key for key in KEYS if key != "run_dir"])
@pytest.mark.fault("T08")
def test_what_a_changed_setting_does(tmp_path: Path, key: str) -> None:
    two = {"data__valid": ["c", "d"]} if key == "train.best_corpus" else {}  # among one corpus there is no choice
    config = begun(tmp_path, **two)
    resume.check_settings(config, allow_changes=False)
    other = changed(config, key)
    for allow_changes in (False, True):
        effect = resume.EFFECTS[key]
        refused = effect is FIXED or (effect is CHANGES_RESULT and not allow_changes)
        if not refused:
            resume.check_settings(other, allow_changes=allow_changes)
            continue
        with pytest.raises(UsageError) as failure:
            resume.check_settings(other, allow_changes=allow_changes)
        text = str(failure.value)
        assert f"{key}: " in text and " -> " in text and "\n" not in text
        assert ("--allow-config-change" in text) == (effect is CHANGES_RESULT)


def test_a_run_without_a_checkpoint_can_become_another(tmp_path: Path) -> None:
    config = begun(tmp_path)
    (config.directory / "checkpoints" / "10").rmdir()
    resume.check_settings(changed(config, "model.d_model"), allow_changes=False)
    assert run_dir.read_data_record(config.directory) is None
    assert load(tmp_path / "config.toml", run_dir=config.run_dir, data__max_length=70).data.max_length == 70


def load(file: Path, **given: Any) -> Config:
    return resume.load_config(file, {key.replace("__", "."): value for key, value in given.items()})


@pytest.mark.parametrize(
    ("recorded", "kept"),
    [
        ({"model__dropout": 0.25, "train__adam_b2": 0.9}, {"model.dropout": 0.25, "train.adam_b2": 0.9}),
        ({"model__d_model": 30, "model__num_heads": 3}, {"model.d_model": 30, "model.num_heads": 3}),
        ({"data__max_ratio": 3.5, "mesh__data": 1}, {"data.max_ratio": 3.5, "mesh.data": 1}),
        ({"tokenizer__kind": "bpe", "decode__stop": "certain"}, {"tokenizer.kind": "bpe", "decode.stop": "certain"}),
        ({"about__licence": "CC0"}, {"about.licence": "CC0"}),
    ],
)
def test_what_is_not_set_stays_as_it_was_recorded(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    recorded: dict[str, Any],
    kept: dict[str, Any],
) -> None:
    """Whatever the defaults are by now, and whatever of the config would not be valid on its own."""
    before = begun(tmp_path, **recorded)
    (tmp_path / "short.toml").write_text(f'run_dir = "{before.run_dir}"\n', encoding="utf8")
    with caplog.at_level(logging.INFO, logger="transformer"):
        config = load(tmp_path / "short.toml")
    assert config == before
    for key, value in kept.items():
        assert f"{key} = {value!r}" in caplog.text
    of_python = Config.model_validate({"run_dir": before.run_dir, "data": before.data, "train": {"steps": 60}})
    assert resume.with_record(of_python) == before


def test_a_run_without_its_record_is_not_resumed_unasked(tmp_path: Path) -> None:
    config = begun(tmp_path)
    (config.directory / "config.toml").unlink()
    with pytest.raises(UsageError, match=r"config\.toml: is missing.*--allow-config-change"):
        resume.check_settings(config, allow_changes=False)
    resume.check_settings(config, allow_changes=True)


def test_what_is_set_is_compared(tmp_path: Path) -> None:
    before = begun(tmp_path, model__dropout=0.25)
    config = load(tmp_path / "config.toml", run_dir=before.run_dir, model__dropout=0.1)
    with pytest.raises(UsageError, match=r"model\.dropout: 0\.25 -> 0\.1"):
        resume.check_settings(config, allow_changes=False)


@pytest.mark.parametrize("key", ["model.dropout", "train.schedule", "decode.max_ratio", "model.activation", "seed"])
def test_a_new_default_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """The recorded value is as the default was: the same file gives another value where nothing has begun."""
    before = begun(tmp_path)
    without = tmp_path / "without.toml"
    lines = [line for line in SMALL.splitlines() if not line.startswith(("dropout", "max_ratio"))]
    without.write_text("\n".join(lines), encoding="utf8")
    config_toml = before.directory / "config.toml"
    values: dict[str, Any] = {"dropout": 0.33, "schedule": "cosine", "max_ratio": 7.0, "activation": "silu", "seed": 9}
    name = key.rpartition(".")[2]
    section = f"[{key.rpartition('.')[0]}]" if "." in key else ""
    head, _, tail = config_toml.read_text(encoding="utf8").partition(section) if section else ("", "", "")
    text = tail or config_toml.read_text(encoding="utf8")
    text = re.sub(rf"^{name} = .*$", f"{name} = {json.dumps(values[name])}", text, count=1, flags=re.M)
    config_toml.write_text(f"{head}{section}{text}" if section else text, encoding="utf8")
    config = load(without, run_dir=before.run_dir)
    part, _, last = key.rpartition(".")
    assert getattr(getattr(config, part) if part else config, last) == values[name]
    resume.check_settings(config, allow_changes=False)


@pytest.mark.fault("T09")
def test_changed_corpora_are_noticed(tmp_path: Path) -> None:
    config = begun(tmp_path)
    before = run_dir.read_data_record(config.directory)
    resume.check_corpora(config, before, CORPORA, allow_changes=False)
    a, b = CORPORA.train
    c = CORPORA.valid[0]
    other = Corpus("b", lambda: iter([Pair("3", "5")]))
    for train, fault in (
        ([a, other], "the content of b has changed"),
        ([b, a], "in another order"),
        ([a], "data.train = ['a'] has another content than ['a', 'b']"),
        ([a, b, b], "data.train = ['a', 'b', 'b'] has another content"),
        ([a, replace(b, columns=("en", "de"))], "the choice of columns of b has changed"),
    ):
        for allow_changes in (False, True):
            with pytest.raises(UsageError) as failure:
                resume.check_corpora(config, before, Corpora(train, [c]), allow_changes=allow_changes)
            assert fault in str(failure.value) and "--allow-config-change" not in str(failure.value)
    valid = Corpora([a, b], [replace(other, name="c")])
    with pytest.raises(UsageError, match=r"the content of c has changed .* resume with --allow-config-change"):
        resume.check_corpora(config, before, valid, allow_changes=False)
    resume.check_corpora(config, before, valid, allow_changes=True)
    moved = Corpora([replace(a, name="/elsewhere/a"), replace(b, name="./b")], [replace(c, name="x.tsv")])
    resume.check_corpora(config, before, moved, allow_changes=False)


@pytest.mark.fault("T09")
def test_what_was_recorded_before_format_2_is_compared(tmp_path: Path) -> None:
    """By name then, and of a packed file the bytes as they are."""
    for side in ("en", "de"):
        with gzip.open(tmp_path / f"packed.{side}.gz", "wt", encoding="utf8") as file:
            file.write(f"one in {side}\n")
    packed = open_corpus(str(tmp_path / "packed"), "en", "de", "train")
    config = begun(tmp_path, data__train=[str(tmp_path / "packed"), "b"], data__valid=["c"])
    old = {
        "train": {"b": CORPORA.train[1].digest, str(tmp_path / "packed"): packed.compressed_digest},
        "valid": {"c": CORPORA.valid[0].digest},
    }
    (config.directory / "data" / "corpora.json").write_text(json.dumps(old), encoding="utf8")
    before = run_dir.read_data_record(config.directory)
    resume.check_corpora(config, before, Corpora([packed, CORPORA.train[1]], CORPORA.valid), allow_changes=False)
    with pytest.raises(UsageError, match="in another order"):
        resume.check_corpora(config, before, Corpora([CORPORA.train[1], packed], CORPORA.valid), allow_changes=False)
    run_dir.write_records(config, Corpora([packed, CORPORA.train[1]], CORPORA.valid))
    for side in ("en", "de"):  # the same text, unpacked
        (tmp_path / f"packed.{side}").write_text(f"one in {side}\n", encoding="utf8")
        (tmp_path / f"packed.{side}.gz").unlink()
    unpacked = open_corpus(str(tmp_path / "packed"), "en", "de", "train")
    before = run_dir.read_data_record(config.directory)
    resume.check_corpora(config, before, Corpora([unpacked, CORPORA.train[1]], CORPORA.valid), allow_changes=False)


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"train": {}}', '{"format": 2}', '{"format": 9}', '{"format": "x"}']
)
def test_a_record_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    config = begun(tmp_path)
    (config.directory / "data" / "corpora.json").write_text(content, encoding="utf8")
    with pytest.raises(UsageError, match=r"corpora\.json: "):
        run_dir.read_data_record(config.directory)


def test_a_record_of_a_later_format_names_the_version_to_install(tmp_path: Path) -> None:
    config = begun(tmp_path)
    path = config.directory / "data" / "corpora.json"
    content = json.loads(path.read_text(encoding="utf8"))
    assert content["version"] == package_version()
    path.write_text(json.dumps(content | {"format": 9, "version": "7.1.0"}), encoding="utf8")
    with pytest.raises(UsageError, match=r"corpora\.json: format 9, .*transformer-translation 7\.1\.0: install"):
        run_dir.read_data_record(config.directory)


def test_one_corpus_of_several_may_move(tmp_path: Path) -> None:
    """The corpus that decides on the best model is the same by its place, whatever its path."""
    before = begun(tmp_path, data__valid=["c", "d"], train__best_corpus="d")
    moved = {"data__valid": ["x/c", "x/d"], "train__best_corpus": "x/d"}
    resume.check_settings(small(Path(before.run_dir), **moved), allow_changes=False)
    (tmp_path / "short.toml").write_text(f'run_dir = "{before.run_dir}"\n', encoding="utf8")
    assert load(tmp_path / "short.toml", data__valid=["x/c", "x/d"]).train.best_corpus == "x/d"
    with pytest.raises(UsageError, match=r"train\.best_corpus: .* -> "):
        resume.check_settings(small(Path(before.run_dir), **moved | {"train__best_corpus": "x/c"}), allow_changes=False)


@pytest.mark.parametrize("name", ["renamed", "deep/er", "a copy"])
def test_a_run_directory_with_another_name_begins_no_run(tmp_path: Path, name: str) -> None:
    before = begun(tmp_path)
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    if name == "a copy":
        shutil.copytree(before.directory, place)
    else:
        before.directory.rename(place)
    with pytest.raises(UsageError) as failure:
        load(place / "config.toml")
    text = str(failure.value)
    assert f"--run-dir {shlex.quote(str(place))}" in text and f"--run-dir {before.run_dir}" in text and "\n" not in text
    (tmp_path / "link.toml").symlink_to(place / "config.toml")
    with pytest.raises(UsageError, match="--run-dir"):
        load(tmp_path / "link.toml")
    assert load(place / "config.toml", run_dir=str(place)).run_dir == str(place)
    assert load(place / "config.toml", run_dir=before.run_dir).run_dir == before.run_dir
    assert load(tmp_path / "config.toml", run_dir=str(place)).model.d_model == 16


def test_a_config_beside_folders_of_its_own_is_no_run(tmp_path: Path) -> None:
    """A project with config.toml, model/ and checkpoints/ of something else trains where its config says."""
    (tmp_path / "checkpoints" / "1000").mkdir(parents=True)
    (tmp_path / "model").mkdir()
    (tmp_path / "config.toml").write_text(f'run_dir = "{tmp_path}/runs/a"\n{SMALL}', encoding="utf8")
    assert load(tmp_path / "config.toml").run_dir == f"{tmp_path}/runs/a"
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "runs" / "a")
    link = load(tmp_path / "config.toml", run_dir=str(tmp_path / "runs" / "link"))
    assert link.directory.resolve() == tmp_path / "runs" / "a"


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config.toml").write_text(SMALL, encoding="utf8")
    given = {
        "run_dir": "~/runs/x",
        "data__train": ["~/data/a", "b"],
        "data__valid": ["~/v.tsv"],
        "train__best_corpus": "~/v.tsv",
    }
    config = load(tmp_path / "config.toml", **given)
    assert config.directory == tmp_path / "runs" / "x"
    assert config.data.train == (f"{tmp_path}/data/a", "b")
    assert config.data.valid == (config.train.best_corpus,) == (f"{tmp_path}/v.tsv",)
    for given in ({"run_dir": "~nobody-here/x"}, {"train__init_from": "~nobody-here"}):
        key = next(iter(given)).replace("__", ".")
        with pytest.raises(UsageError, match=rf"{key} = '~nobody-here.*: there is no home directory ~nobody-here; "):
            load(tmp_path / "config.toml", **{"run_dir": "x"} | given)


HOLDER = """
import sys, time
from pathlib import Path
from transformer.run.run_dir import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.fault("T07")
def test_one_training_a_run_directory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        try:
            assert holder.stdout and holder.stdout.readline() == "held\n"
            told = rf"run: in use by process {holder.pid} on \S+; "
            with pytest.raises(UsageError, match=told), run_dir.lock(tmp_path / "run"):
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
    with run_dir.lock(tmp_path / "run"):  # what a dead process held is free
        assert str(os.getpid()) in (tmp_path / "run" / "lock").read_text(encoding="utf8")


def test_a_run_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "run"
    with pytest.raises(UsageError, match="cannot be made or written: Not a directory"), run_dir.lock(place):
        pass


@pytest.mark.parametrize("present", [("model", "model.new"), ("model.new", "model.old"), ("model", "model.old")])
@pytest.mark.fault("T06")
def test_the_renaming_of_a_model_is_ended(tmp_path: Path, present: tuple[str, ...]) -> None:
    for name in present:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(name)
    clear_leftovers(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    expected = "model" if "model" in present else "model.old"
    assert (tmp_path / "model" / "config.json").read_text() == expected


@pytest.mark.parametrize("name", ["lr[1e-3]", "a]", "a\\b"])
def test_names_that_orbax_reads_otherwise_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="which Orbax does not support"), run_dir.lock(tmp_path / name / "run"):
        pass
    assert not list(tmp_path.iterdir())
