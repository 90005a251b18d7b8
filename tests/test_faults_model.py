"""What can be wrong with a model directory, whoever made it (X18 to X20, M01 to M03 and M05 of the fault catalogue)."""

import getpass
import hashlib
import json
import os
import pickle
import socket
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sentencepiece import SentencePieceTrainer

from memory import at_most
from transformer.config import Tokenizer as Settings
from transformer.data.clauses import clauses
from transformer.data.tokenizer import Tokenizers, load_tokenizers
from transformer.data.tokenizer_training import train_tokenizer
from transformer.errors import UsageError
from transformer.translation.model_dir import FORMAT, load_model, save_model
from transformer.translation.translator import Translator

FILES = ("config.json", "model.safetensors", "source.spm", "target.spm", "manifest.json")


@pytest.fixture
def directory(tmp_path: Path, translator: Translator) -> Path:
    path = tmp_path / "model"
    save_model(path, translator.model, translator.tokenizers, translator.config)
    return path


def refused(directory: Path) -> str:
    """The one line with which the model is refused, soon and in little memory."""
    began = time.process_time()
    with at_most(200), pytest.raises(UsageError) as problem:
        load_model(directory)
    assert time.process_time() - began < 2
    text = str(problem.value)
    assert len(text.splitlines()) == 1 and str(directory) in text
    return text


def put(directory: Path, name: str, content: bytes) -> None:
    """Writes a file and makes the manifest agree with it."""
    (directory / name).write_bytes(content)
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (directory / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.fault("X18")
def test_models_of_this_format_load_whatever_version_wrote_them(directory: Path) -> None:
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["format"] == FORMAT and manifest["version"]
    for version in ({"version": "99.0"}, {"version": None}):
        (directory / "manifest.json").write_text(json.dumps(manifest | version))
        load_model(directory)
    del manifest["version"]  # as the first models
    (directory / "manifest.json").write_text(json.dumps(manifest))
    load_model(directory)


@pytest.mark.fault("X19")
def test_a_vocabulary_of_the_same_size_is_seen(directory: Path, translator: Translator) -> None:
    sentences = [text for pair in clauses("test", 300) for text in pair]
    other = train_tokenizer(sentences, Settings(vocab_size=translator.tokenizers.source.vocab_size))
    assert other.vocab_size == translator.tokenizers.source.vocab_size
    other.save(directory / "source.spm")
    assert f"{directory / 'source.spm'}: differs from manifest.json" in refused(directory)


@pytest.mark.fault("X19")
def test_a_swapped_weight_file_and_a_file_of_nobody_are_seen(directory: Path, translator: Translator) -> None:
    values = load_file(directory / "model.safetensors")
    save_file({name: value[::-1].copy() for name, value in values.items()}, directory / "model.safetensors")
    assert f"{directory / 'model.safetensors'}: differs" in refused(directory)
    save_model(directory, translator.model, translator.tokenizers, translator.config)
    (directory / "tokenizer.spm").write_bytes(b"")  # not in the manifest, and not to be read instead of another
    assert f"{directory / 'tokenizer.spm'}: differs" in refused(directory)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.fault("X20")
def test_numbers_that_are_not_finite_are_refused(directory: Path, value: float) -> None:
    values = load_file(directory / "model.safetensors")
    name = sorted(values)[-1]
    values[name].flat[-1] = value
    save_file(values, directory / "model.safetensors")
    put(directory, "model.safetensors", (directory / "model.safetensors").read_bytes())
    assert f"the tensor {name} has NaN or infinite values" in refused(directory)


# M01: data only


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.fault("M01")
def test_code_in_a_model_directory_does_not_run(directory: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w')"
    (directory / "__init__.py").write_text(code)
    (directory / "transformer.py").write_text(code)
    (directory / "config.yaml").write_text(f"!!python/object/apply:pathlib.Path.touch [{canary}]")
    (directory / "model.pkl").write_bytes(pickle.dumps(Canary(canary)))
    load_model(directory)
    for name in FILES[:3]:
        content = (directory / name).read_bytes()
        put(directory, name, pickle.dumps(Canary(canary)))
        refused(directory)
        put(directory, name, content)
    card = json.loads((directory / "config.json").read_text())
    put(directory, "config.json", json.dumps(card | {"auto_map": {"AutoModel": "transformer.Model"}}).encode())
    assert "config.json: auto_map:" in refused(directory)
    assert not canary.exists()


# M02: bombs


def tensors(directory: Path) -> bytes:
    return (directory / "model.safetensors").read_bytes()


def header(content: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def with_header(entries: object, data: bytes) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def attacks(content: bytes) -> dict[str, bytes]:
    entries, data = header(content)
    first, second = sorted(entries)[1:3]
    million = b"{%s}" % b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % n for n in range(10**6))
    more = {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}

    def having(**changes: object) -> bytes:
        return with_header(entries | {first: entries[first] | changes}, data)

    return {
        "a header larger than the file": struct.pack("<Q", 1 << 62) + content[8:],
        "a million tensors": struct.pack("<Q", len(million)) + million,
        "a header of nothing": struct.pack("<Q", 0) + content[8:],
        "a negative size": b"\xff" * 8 + content[8:],
        "overlapping tensors": having(data_offsets=entries[second]["data_offsets"]),
        "an overflow of the shape": having(shape=[1 << 40, 1 << 40]),
        "a shape that wraps around": having(shape=[1 << 63, 2]),
        "a negative shape": having(shape=[-1, 4]),
        "offsets behind the end": having(data_offsets=[0, 1 << 50]),
        "offsets backwards": having(data_offsets=[64, 0]),
        "a dtype of nobody": having(dtype="F1024"),
        "a tensor too many": with_header(entries | {"more": more}, data + b"\0" * 4),
        "data behind the tensors": content + b"\0" * 100,
        "no data": content[: len(content) - len(data)],
        "a deep header": struct.pack("<Q", 100_000) + b"[" * 100_000,
        "empty": b"",
        "seven bytes": b"\0" * 7,
    }  # fmt: skip


@pytest.mark.fault("M02")
def test_hostile_tensor_files_are_refused(directory: Path) -> None:
    for name, content in attacks(tensors(directory)).items():
        put(directory, "model.safetensors", content)
        assert "model.safetensors" in refused(directory), name


@pytest.mark.fault("M02")
def test_hostile_manifests_are_refused(directory: Path) -> None:
    whole = json.loads((directory / "manifest.json").read_text())
    many = whole | {"files": whole["files"] | {str(number): {} for number in range(100_000)}}
    for text in (
        "[" * 100_000,
        '{"format": ' * 50_000,
        f'{{"format": {"9" * 5000}}}',
        '{"format": NaN, "files": {}}',
        json.dumps(many),
        json.dumps(whole | {"format": [[]]}),
        json.dumps(whole | {"files": {"a\nb\0": {}}}),
        json.dumps(whole | {"files": {"\ud800": {}}}),
        " " * (200 << 20),
    ):
        (directory / "manifest.json").write_text(text)
        refused(directory)


HUGE = 10**12


@pytest.mark.parametrize(
    "changes",
    [
        {"source_vocabulary": HUGE, "target_vocabulary": HUGE},
        {"max_length": HUGE},
        {"max_length": 1},
        *({"model": {key: HUGE}} for key in ("d_model", "d_ff", "encoder_layers", "decoder_layers", "max_positions")),
        {"model": {"num_heads": 3}},
        {"model": {"num_heads": HUGE}},
        {"model": {"d_model": 1 << 16, "d_ff": 1 << 20, "encoder_layers": 1 << 10}},
        *({"decode": {key: HUGE}} for key in ("beam_size", "max_ratio", "max_extra", "batch_tokens")),
        {"decode": {"length_penalty": float("nan")}},
        {"model": {"d_model": "16"}, "source": 3},
    ],
)
@pytest.mark.fault("M02")
def test_hostile_configs_are_refused(directory: Path, changes: dict[str, Any]) -> None:
    card = json.loads((directory / "config.json").read_text())
    for key, value in changes.items():
        card[key] = card[key] | value if isinstance(value, dict) else value
    put(directory, "config.json", json.dumps(card).encode())
    refused(directory)


@pytest.mark.fault("M02")
def test_configs_that_are_no_json_are_refused(directory: Path) -> None:
    for content in (b"[" * 100_000, b'{"model":' * 100_000, b"\xff\xfe", b"", b"null", b" " * (2 << 20)):
        put(directory, "config.json", content)
        assert "config.json" in refused(directory)


def mutant(directory: Path, rng: np.random.Generator) -> tuple[str, bytes]:
    """A file of the model, and what chance has made of it."""
    name = FILES[rng.integers(len(FILES))]
    content = bytearray((directory / name).read_bytes())
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(0, min(len(content), 4000) if rng.integers(2) else len(content)))
        end = place + int(rng.integers(1, 40))
        after = content[place + 1 :], content[end:], rng.bytes(end - place) + content[end:]
        before = bytes([content[place] ^ (1 << int(rng.integers(8)))]), b"", b"", b"9" * 12, content[place : place + 99]
        kind = rng.integers(5)
        content[place:] = before[kind] + (*after, content[place:], content[place:])[kind]
        content = content or bytearray(b" ")
    return name, bytes(content)


def check(directory: Path, count: int, seed: int) -> None:
    """No mutant is loaded without a word, and one whose maker has mended the manifest gives a model, or one line."""
    rng = np.random.default_rng(seed)
    whole = {name: (directory / name).read_bytes() for name in FILES}
    for number in range(count):
        name, content = mutant(directory, rng)
        said = f"seed {seed}, number {number}, {name}"
        began = time.perf_counter()
        mended = name != "manifest.json" and rng.integers(2) == 1
        if mended:
            put(directory, name, content)
        else:
            (directory / name).write_bytes(content)
        try:
            loaded = load_model(directory)
        except UsageError as problem:
            assert len(str(problem).splitlines()) == 1, said
        else:
            assert mended or content == whole[name] or name == "manifest.json", said
            loaded[1].source.decode_batch(loaded[1].source.encode(["A dog sleeps.", "é 日本"]))
        assert time.perf_counter() - began < 10, said
        for name, content in whole.items():
            (directory / name).write_bytes(content)


@pytest.mark.fault("M02")
def test_mutants_are_refused_in_one_line(directory: Path) -> None:
    check(directory, 300, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.fault("M02")
def test_twenty_thousand_mutants(directory: Path, seed: int) -> None:
    check(directory, 1000, seed=1000 + seed)


# M03: links and paths


@pytest.mark.parametrize("name", FILES)
@pytest.mark.fault("M03")
def test_links_are_refused(directory: Path, tmp_path: Path, name: str) -> None:
    os.rename(directory / name, tmp_path / "elsewhere")
    (directory / name).symlink_to(tmp_path / "elsewhere")
    assert f"{directory / name}" in refused(directory)


@pytest.mark.fault("M03")
def test_a_link_to_a_whole_directory_is_the_users_own(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(directory)
    load_model(tmp_path / "link")


@pytest.mark.fault("M03")
def test_what_is_no_file_is_not_waited_for(directory: Path) -> None:
    (directory / "source.spm").unlink()
    os.mkfifo(directory / "source.spm")
    assert "missing, a link, or not a file" in refused(directory)


@pytest.mark.fault("M03")
def test_the_manifest_names_files_of_a_model_alone(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    whole = json.loads((directory / "manifest.json").read_text())
    empty = {"bytes": 0, "sha256": hashlib.sha256().hexdigest()}
    for name in ("../x", str(tmp_path / "x"), "..", ".", "", "a/../../x", "model.pkl", "x\n", "config.json\0"):
        (directory / "manifest.json").write_text(json.dumps(whole | {"files": whole["files"] | {name: empty}}))
        with pytest.raises(UsageError, match=r"^[^\n]*missing, a link, or not a file of a model[^\n]*$"):
            load_model(directory)


# M05: no secrets


@pytest.mark.fault("M05")
def test_a_model_tells_nothing_about_where_it_was_made(
    tmp_path: Path, translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "canary-of-the-environment")
    english = tmp_path / "canary-of-a-path.txt"
    english.write_text("\n".join(text for text, _ in clauses("train", 300)), encoding="utf8")
    prefix = tmp_path / "canary-of-a-prefix"
    SentencePieceTrainer.train(input=str(english), model_prefix=str(prefix), vocab_size=100, minloglevel=3)
    assert b"canary" in Path(f"{prefix}.model").read_bytes()
    elsewhere = load_tokenizers([f"{prefix}.model"])
    for number, tokenizers in enumerate(
        (translator.tokenizers, elsewhere, Tokenizers(elsewhere.source, elsewhere.source))
    ):
        directory = tmp_path / "runs" / str(number)
        save_model(directory, translator.model, tokenizers, translator.config)
        secrets = ["canary", str(tmp_path), str(Path.home()), os.getcwd(), socket.gethostname(), getpass.getuser()]
        secrets = [secret for secret in secrets if len(secret) > 5]  # shorter ones are in any numbers
        for path in directory.iterdir():
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], path
        assert Tokenizers.load(directory).source.encode(["A dog"]) == tokenizers.source.encode(["A dog"])
