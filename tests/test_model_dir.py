"""The model directory: the same model comes back, the same bytes are written, and no damage goes unseen."""

import getpass
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from transformer import model_dir
from transformer.errors import UsageError
from transformer.model.parameters import named
from transformer.model_dir import load_model, save_model
from transformer.translator import Translator


@pytest.fixture
def directory(tmp_path: Path, translator: Translator) -> Path:
    path = tmp_path / "run" / "model"
    save_model(path, translator.model, translator.tokenizers, translator.card)
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
        assert card == translator.card


def test_two_tokenizers_come_back_as_two(tmp_path: Path, translator: Translator) -> None:
    from transformer.data.tokenizer import Tokenizer, Tokenizers

    one = translator.tokenizers.source
    save_model(tmp_path / "m", translator.model, Tokenizers(one, Tokenizer(one.model_bytes)), translator.card)
    assert not load_model(tmp_path / "m")[1].shared


def test_bytes_are_the_same_each_time_and_wherever(directory: Path, tmp_path: Path, translator: Translator) -> None:
    before = contents(directory)
    for place in (directory, tmp_path / "elsewhere"):
        save_model(place, *load_model(directory))
        assert contents(place) == before
    assert sorted(path.name for path in directory.parent.iterdir()) == ["model"]  # nothing is left of the exchange
    assert sorted(before) == ["config.json", "manifest.json", "model.safetensors", "tokenizer.spm"]


def test_no_path_and_no_user_stands_in_any_file(directory: Path, tmp_path: Path) -> None:
    names = [str(tmp_path), str(Path.home()), str(Path.cwd()), "/tmp", "/home", f"/{getpass.getuser()}"]
    for content in contents(directory).values():
        assert not any(name.encode() in content for name in names)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.spm"])
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


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.spm"])
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

    monkeypatch.setattr(model_dir, "checksum", forbidden)
    assert f"{directory / 'config.json'}: cannot be read: Permission denied" in refused(directory)


def test_an_unlisted_file_is_not_trusted(directory: Path) -> None:
    manifest = json.loads((directory / "manifest.json").read_text())
    for files in ({}, manifest["files"] | {"config.json": 3}):
        (directory / "manifest.json").write_text(json.dumps(manifest | {"files": files}))
        assert f"{directory / 'config.json'}: differs" in refused(directory)


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
    save_model(directory, translator.model, translator.tokenizers, translator.card)
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
        "tokenizer.spm": "not a SentencePiece model",
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
    assert "config.json asks for 17 and 400" in having({"source_vocabulary": 17})
