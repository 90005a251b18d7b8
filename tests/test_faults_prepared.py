"""Faults of what a run has prepared in RUN/data: damage, other languages of the same file, files of others."""

import json
import logging
import re
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from preparing import fails, prepared, sides, write
from runs import flushes_and_names
from transformer.cli.main import run
from transformer.config import Data
from transformer.data.checks import survey
from transformer.data.corpus import open_corpus
from transformer.data.prepare import Prepared
from transformer.errors import DataError
from transformer.files import manifest
from transformer.files.prepared import begin_results, finish_results
from transformer.run.run_dir import lock


@pytest.fixture(autouse=True)
def messages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "transformer")


# T09: what was prepared before


def texts(found: Prepared) -> tuple[list[str], list[str]]:
    """What its ids say."""
    places = range(len(found.train))
    return (
        [found.tokenizers.source.decode(found.train.source[place]) for place in places],
        [found.tokenizers.target.decode(found.train.target[place]) for place in places],
    )


def table(folder: Path, form: str) -> str:
    """Three languages in one file."""
    columns = {"en": [], "de": [], "fr": []}
    for source, target in zip(*sides(100), strict=True):
        columns["en"].append(source.decode())
        columns["de"].append(target.decode())
        columns["fr"].append(target.decode()[::-1])
    path = folder / f"table.{form}"
    if form == "parquet":
        parquet.write_table(pyarrow.table(columns), path)
    else:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf8")
    return str(path)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize(("source", "target"), [("en", "fr"), ("de", "en")])
@pytest.mark.fault("T09")
def test_other_languages_of_the_same_file_are_prepared_anew(
    tmp_path: Path, form: str, source: str, target: str
) -> None:
    name = table(tmp_path, form)
    prepared(tmp_path, name, valid=name)
    other = prepared(tmp_path, name, valid=name, source=source, target=target)
    fresh = prepared(tmp_path / "fresh", name, valid=name, source=source, target=target)
    assert texts(other) == texts(fresh)
    assert other.tokenizers.target.model_bytes == fresh.tokenizers.target.model_bytes


@pytest.mark.fault("T09")
def test_other_languages_of_the_same_file_are_looked_at_anew(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    row = {"en": "a", "de": "b", "fr": ""}
    path.write_text("".join(f"{json.dumps(row | {'de': str(number)})}\n" for number in range(200)), encoding="utf8")
    survey.survey(tmp_path / "survey", [open_corpus(str(path), "en", "de", "train")], Data())
    with pytest.raises(DataError, match="200 empty target"):
        survey.survey(tmp_path / "survey", [open_corpus(str(path), "en", "fr", "train")], Data())


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("harm", ["cut", "emptied", "flipped", "removed", "a list", "an edit", "no text"])
@pytest.mark.fault("T09")
def test_damage_to_what_was_prepared_is_told_and_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    prepared(tmp_path, "builtin:clauses:train:100")
    data = tmp_path / "run" / "data"
    whole = files(data)
    assert len(whole) == 4 * 2 + 2 + 5  # ids and offsets, two tokenizers, manifests
    for name, content in whole.items():
        caplog.clear()
        changed = {
            "cut": content[:-4], "emptied": b"", "flipped": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
            "a list": b"[]", "an edit": content.replace(b'"kept": 100', b'"kept": 101'), "no text": b"\xff",
        }.get(harm)  # fmt: skip
        if changed is None:
            (data / name).unlink()
        else:
            (data / name).write_bytes(changed)
        prepared(tmp_path, "builtin:clauses:train:100")
        assert files(data) == whole
        told = [text for text in caplog.messages if text.startswith(f"warning: {data / name}: ")]
        lost = harm == "removed" and name.endswith("manifest.json")  # as after a preparation that was cut short
        assert len(told) == (changed != content and not lost), caplog.messages


@pytest.mark.fault("T09")
def test_what_was_prepared_is_on_the_disk_before_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the name of the manifest is what comes last: what has no manifest is not taken for whole."""
    done = flushes_and_names(monkeypatch, "replace")
    begin_results(tmp_path / "ids")
    (tmp_path / "ids" / "source.ids").write_bytes(b"1234")
    finish_results(tmp_path / "ids", "digest")
    assert done == ["source.ids", "manifest.json.unfinished", "manifest.json.unfinished -> manifest.json", "ids"]


@pytest.mark.parametrize("command", ["prepare", "train"])
@pytest.mark.parametrize("place", ["train_survey", "tokenizer", "train", "valid"])
@pytest.mark.fault("T06")
def test_a_directory_that_others_use_is_not_cleared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: str, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / place
    folder.mkdir(parents=True)
    name = write(folder / "corpus", *sides())
    (tmp_path / "config.toml").write_text(
        f'run_dir = "."\n[data]\nsource = "en"\ntarget = "de"\ntrain = ["{name}"]\n'
        'valid = ["builtin:clauses:valid:20"]\n[tokenizer]\nvocab_size = 300\n',
        encoding="utf8",
    )
    before = files(folder)
    assert run(command, ["config.toml"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.endswith(
        f"error: data/{place}: corpus.de does not belong to a run, which would delete it; choose another run_dir\n"
    )
    assert files(folder) == before
    if place != "tokenizer":
        assert list((tmp_path / "data").iterdir()) == [folder]


@pytest.mark.fault("T06")
def test_a_link_to_another_disk_stays(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run" / "data").mkdir(parents=True)
    (tmp_path / "run" / "data" / "train").symlink_to(tmp_path / "disk")
    for count in (100, 99):
        assert len(prepared(tmp_path, f"builtin:clauses:train:{count}").train) == count
        assert (tmp_path / "disk" / "manifest.json").exists() and (tmp_path / "run" / "data" / "train").is_symlink()


@pytest.mark.fault("T09")
def test_a_file_of_another_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ids").write_bytes(b"1234")
    found = manifest.digests(tmp_path)
    with open(tmp_path / "ids", "ab") as file:
        file.truncate(1 << 32)
    monkeypatch.delattr(manifest, "digest")
    assert manifest.find_damage(tmp_path, found) == "ids: the size differs"


# T07: one process a run directory


@pytest.mark.fault("T07")
def test_prepare_waits_for_no_training_and_does_not_disturb_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lock(tmp_path / "run"):
        told = fails(capsys, tmp_path, 2, "builtin:clauses:train:100")
        assert re.search(r"run: in use by process \d+ on .*; wait until it ends, or choose another run_dir", told)
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]
