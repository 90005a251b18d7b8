"""The model directory: the same model comes back, the same bytes are written, and no damage goes unseen."""

import getpass
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from runs import flushes_and_names, small
from transformer.cli.main import run
from transformer.errors import UsageError
from transformer.files import model_files
from transformer.files.manifest import digest
from transformer.model.parameters import named
from transformer.run.trainer import train
from transformer.translation.model_dir import clear_leftovers, load_model, save_model
from transformer.translation.translator import Translator

pytestmark = pytest.mark.mixed_dtypes


@pytest.fixture
def directory(tmp_path: Path, translator: Translator) -> Path:
    path = tmp_path / "run" / "model"
    save_model(path, translator.model, translator.tokenizers, translator.config)
    return path


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def refused(directory: Path) -> str:
    with pytest.raises(UsageError) as problem:
        load_model(directory)
    text = str(problem.value)
    assert "\n" not in text
    return text


def rewrite(directory: Path, name: str, change: Callable[[Path], None]) -> None:
    """Changes a file and makes the manifest agree with it."""
    change(directory / name)
    manifest = json.loads((directory / "manifest.json").read_text())
    content = (directory / name).read_bytes()
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (directory / "manifest.json").write_text(json.dumps(manifest))


def test_what_is_saved_comes_back_bit_for_bit(directory: Path, translator: Translator) -> None:
    for place in (directory, directory.parent):
        model, tokenizers, card = load_model(place)
        jax.tree.map(np.testing.assert_array_equal, named(model), named(translator.model))
        assert tokenizers.shared
        assert tokenizers.source.model_bytes == translator.tokenizers.source.model_bytes
        assert card == translator.config


def test_two_tokenizers_come_back_as_two(tmp_path: Path, translator: Translator) -> None:
    from transformer.data.tokenizer import Tokenizer, Tokenizers

    one = translator.tokenizers.source
    save_model(tmp_path / "m", translator.model, Tokenizers(one, Tokenizer(one.model_bytes)), translator.config)
    assert load_model(tmp_path / "m")[1].files == ("source.spm", "target.spm")
    save_model(tmp_path / "n", translator.model, Tokenizers(one, one), translator.config)
    assert load_model(tmp_path / "n")[1].files == ("tokenizer.spm", "tokenizer.spm")


def test_bytes_are_the_same_each_time_and_wherever(directory: Path, tmp_path: Path, translator: Translator) -> None:
    before = contents(directory)
    for place in (directory, tmp_path / "elsewhere"):
        save_model(place, *load_model(directory))
        assert contents(place) == before
    assert sorted(path.name for path in directory.parent.iterdir()) == ["model"]  # nothing is left of the exchange
    assert sorted(before) == ["config.json", "manifest.json", "model.safetensors", "source.spm", "target.spm"]


def test_no_path_and_no_user_stands_in_any_file(directory: Path, tmp_path: Path) -> None:
    names = [str(tmp_path), str(Path.home()), str(Path.cwd()), "/tmp", "/home", f"/{getpass.getuser()}"]
    for content in contents(directory).values():
        assert not any(name.encode() in content for name in names)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "source.spm"])
@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_a_flipped_byte_is_seen(directory: Path, name: str, place: float) -> None:
    content = bytearray((directory / name).read_bytes())
    content[int(place * len(content))] ^= 1
    (directory / name).write_bytes(content)
    assert f"{directory / name}: differs from manifest.json" in refused(directory)


def test_a_flipped_byte_anywhere_in_the_manifest_is_seen(directory: Path) -> None:
    manifest = directory / "manifest.json"
    whole = manifest.read_bytes()
    version = whole.index(b'  "version"')  # which tells what to install, and decides nothing
    for place in range(version):
        manifest.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert str(directory) in refused(directory)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "source.spm"])
def test_a_missing_or_cut_file_is_named(directory: Path, name: str) -> None:
    content = (directory / name).read_bytes()
    (directory / name).write_bytes(content[:-1])
    assert f"{directory / name}: differs" in refused(directory)
    (directory / name).unlink()
    assert f"{directory / name}: missing" in refused(directory)
    manifest = json.loads((directory / "manifest.json").read_text())
    del manifest["files"][name]
    (directory / "manifest.json").write_text(json.dumps(manifest))
    assert str(directory) in refused(directory)


def test_a_file_that_cannot_be_read_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(model_files, "digest", forbidden)
    assert f"{directory / 'config.json'}: cannot be read: Permission denied" in refused(directory)


def test_an_unlisted_file_is_not_trusted(directory: Path) -> None:
    manifest = json.loads((directory / "manifest.json").read_text())
    for files in ({}, manifest["files"] | {"config.json": 3}):
        (directory / "manifest.json").write_text(json.dumps(manifest | {"files": files}))
        assert f"{directory / 'config.json'}: differs" in refused(directory)


@pytest.mark.parametrize("name", ["model", "model.new", "model.old"])
@pytest.mark.fault("T06")
def test_files_of_others_are_not_cleared_away(directory: Path, translator: Translator, name: str) -> None:
    place = directory.with_name(name)
    place.mkdir(exist_ok=True)
    (place / "thesis.py").write_text("")
    (place / "config.json").write_text("")
    told = f"{place}: thesis.py does not belong to a run, which would delete it; choose another run_dir"
    for write in (
        lambda: clear_leftovers(directory),  # when a training begins
        lambda: save_model(directory, translator.model, translator.tokenizers, translator.config),
    ):
        with pytest.raises(UsageError, match=re.escape(told)):
            write()
        assert (place / "thesis.py").exists() and (place / "config.json").exists()
    (place / "thesis.py").unlink()
    (place / "tokenizer.spm").mkdir()
    with pytest.raises(UsageError, match=r"tokenizer\.spm does not belong to a run"):
        clear_leftovers(directory)


@pytest.mark.parametrize("name", ["model", "model.new", "model.old"])
@pytest.mark.fault("T06")
def test_links_and_files_in_the_place_of_a_model_are_named(directory: Path, tmp_path: Path, name: str) -> None:
    place = directory.with_name(name)
    directory.rename(tmp_path / "elsewhere")
    before = contents(tmp_path / "elsewhere")
    for target in ("elsewhere", "nowhere"):
        place.symlink_to(tmp_path / target)
        with pytest.raises(UsageError, match=rf"{name}: is a link, [^\n]*; remove it, or choose another run_dir"):
            clear_leftovers(directory)
        assert place.is_symlink() and contents(tmp_path / "elsewhere") == before
        place.unlink()
    place.write_text("")
    with pytest.raises(UsageError, match=rf"{name}: is not a directory, and a run needs one there"):
        clear_leftovers(directory)
    assert place.is_file()


KILLED = """
import os, sys, threading
import numpy as np
from safetensors.numpy import save_file
def kill():
    while not os.listdir(sys.argv[1]):
        pass
    os._exit(0)
threading.Thread(target=kill).start()
save_file({"x": np.zeros(1 << 27, np.float32)}, os.path.join(sys.argv[1], "model.safetensors"))
"""


@pytest.mark.fault("T06")
def test_what_a_killed_process_left_is_ours(directory: Path, translator: Translator) -> None:
    new = directory.with_name("model.new")
    new.mkdir()
    subprocess.run([sys.executable, "-c", KILLED, str(new)], check=True)
    assert list(new.iterdir())
    save_model(directory, translator.model, translator.tokenizers, translator.config)
    assert [path.name for path in directory.parent.iterdir()] == ["model"]


def test_a_model_is_on_the_disk_before_it_has_its_place(
    directory: Path, translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = flushes_and_names(monkeypatch, "rename")
    save_model(directory, translator.model, translator.tokenizers, translator.config)
    files = ["config.json", "model.safetensors", "source.spm", "target.spm", "manifest.json"]
    assert done[:-1] == [*files, "model.new", "model -> model.old", "model.new -> model"]
    assert done[-1] == directory.parent.name


def test_places_without_a_model_say_what_they_lack(directory: Path, tmp_path: Path) -> None:
    (directory / "manifest.json").unlink()
    assert f"{directory}: no model here" in refused(directory)
    assert f"{tmp_path / 'none'}: no model here" in refused(tmp_path / "none")
    (tmp_path / "config.toml").touch()
    assert "this run has no model yet" in refused(tmp_path)


def test_a_model_is_found_while_another_takes_its_place(directory: Path, translator: Translator) -> None:
    old = directory.with_name("model.old")
    directory.rename(old)  # as between the two renames of `save_model`, where a kill may come too
    load_model(directory.parent)
    save_model(directory, translator.model, translator.tokenizers, translator.config)
    assert [path.name for path in directory.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("version", [0, 2, -1])
def test_another_format_is_refused(directory: Path, version: int) -> None:
    manifest = json.loads((directory / "manifest.json").read_text()) | {"format": version}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    text = refused(directory)
    assert str(directory / "manifest.json") in text and f"format {version}" in text


@pytest.mark.parametrize("text", ["[]", "{}", "3", "", '{"format": true, "files": {}}', '{"format": "x"}'])
def test_what_is_no_manifest_is_refused(directory: Path, text: str) -> None:
    (directory / "manifest.json").write_text(text)
    assert f"{directory / 'manifest.json'}: not a manifest" in refused(directory)


@pytest.mark.parametrize("name", ["../x", "/etc/hostname", "a/b", "..", ""])
def test_a_manifest_cannot_reach_outside(directory: Path, name: str) -> None:
    outside = directory.parent / "x"
    outside.write_bytes(b"")
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": 0, "sha256": hashlib.sha256().hexdigest()}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    assert f"{directory / name}: missing, a link, or not a file of a model" in refused(directory)


def test_tensors_that_do_not_fit_are_named(directory: Path) -> None:
    whole = load_file(directory / "model.safetensors")
    name, other = sorted(whole)[1], sorted(whole)[2]

    def having(values: dict[str, np.ndarray]) -> str:
        rewrite(directory, "model.safetensors", lambda path: save_file(values, path))
        return refused(directory)

    assert f"the tensor {name} is missing" in having({key: x for key, x in whole.items() if key != name})
    assert f"{other} is F32 (3,)" in having(whole | {other: np.zeros(3, np.float32)})
    assert f"{other} is F16" in having(whole | {other: whole[other].astype(np.float16)})


def test_files_that_agree_with_the_manifest_but_are_nonsense_are_named(directory: Path) -> None:
    for name, fault in {
        "target.spm": "not a SentencePiece model",
        "model.safetensors": "cannot be read",
        "config.json": "JSON",
    }.items():
        kept = directory.parent / "kept"
        shutil.copytree(directory, kept, dirs_exist_ok=True)
        rewrite(kept, name, lambda path: path.write_bytes(b"nonsense"))
        text = refused(kept)
        assert text.startswith(f"{kept / name}: ") and fault in text
        shutil.rmtree(kept)


def test_a_config_with_wrong_settings_names_the_key(directory: Path) -> None:
    card = json.loads((directory / "config.json").read_text())

    def having(changes: dict[str, object]) -> str:
        rewrite(directory, "config.json", lambda path: path.write_text(json.dumps(card | changes)))
        return refused(directory)

    assert "config.json: model.d_model:" in having({"model": card["model"] | {"d_model": 0}})
    assert "config.json: colour:" in having({"colour": "red"})
    assert "config.json states 17 and 400" in having({"source_vocabulary": 17})


def test_a_training_does_not_begin_where_its_model_would_replace_other_files(tmp_path: Path) -> None:
    place = tmp_path / "run" / "model"
    place.mkdir(parents=True)
    (place / "thesis.py").write_text("")
    with pytest.raises(UsageError, match=r"model: thesis\.py does not belong to a run"):
        train(small(tmp_path / "run"))
    assert [path.name for path in place.iterdir()] == ["thesis.py"]
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_names_that_cannot_be_looked_up_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long = str(tmp_path / ("x" * 300))
    assert run("translate", ["--model", long]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {long}: ") and err.count("\n") == 1

    def forbidden(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", forbidden)
    told = f"{tmp_path}: cannot be read: Permission denied; name a run or model directory that can"
    with pytest.raises(UsageError, match=re.escape(told)):
        load_model(tmp_path)


def test_a_file_of_another_size_is_not_read(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(directory / "model.safetensors", "ab") as file:
        file.truncate(1 << 32)
    read: list[Path] = []
    monkeypatch.setattr(model_files, "digest", lambda path: read.append(path) or digest(path))
    assert f"{directory / 'model.safetensors'}: differs from manifest.json" in refused(directory)
    assert read == [directory / "config.json"]
