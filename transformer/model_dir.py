"""The model directory: what training leaves for translation, and what a person copies elsewhere.

    config.json         languages, the shape of the model, special ids, defaults of decoding
    model.safetensors   the parameters by name, in the precision that config.json tells
    tokenizer.spm       SentencePiece, for both sides; or source.spm and target.spm
    *.vocabulary.json   beside a .spm: ids other than its own, of models that came from elsewhere
    manifest.json       format version, version of this package, and size and sha256 of each file

It is data only, and its bytes follow from config, data, seed and software versions: no times, no paths, no names.
Whoever made it is not trusted: what is read is bounded, and checked before anything is allocated for it.
"""

import json
import os
import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from transformer.checksums import checksum, checksums, to_disk
from transformer.config import About, Decode, Model, Section, Size
from transformer.data.lines import one_line
from transformer.data.manifest import check_ours
from transformer.data.tokenizer import Tokenizers
from transformer.errors import UsageError
from transformer.model.parameters import named, with_values
from transformer.model.transformer import Transformer

FORMAT = 1
PACKAGE = "transformer-translation"
MOST_BYTES = {  # of each file that a model may have
    "config.json": 1 << 20,
    "model.safetensors": 1 << 40,
    "tokenizer.spm": 1 << 26,
    "source.spm": 1 << 26,
    "target.spm": 1 << 26,
    "tokenizer.vocabulary.json": 1 << 26,
    "source.vocabulary.json": 1 << 26,
    "target.vocabulary.json": 1 << 26,
}
UNFINISHED = ".tmp??????"  # as safetensors calls what it has not written to its end
MOST_BYTES_OF_HEADER = 1 << 20  # of model.safetensors, and of manifest.json
STORED = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}  # as model.safetensors calls them


class Card(Section):
    """config.json: what a model is."""

    source: str
    """language code of the source"""
    target: str
    """language code of the target"""
    source_vocabulary: Size
    target_vocabulary: Size
    max_length: Annotated[int, Field(ge=2, le=1 << 20)]
    """tokens of the longest source it was trained on, end of sentence included"""
    model: Model
    decode: Decode
    about: About = About()
    """not written to the file if it is empty"""
    weights: Literal["float32", "float16", "bfloat16"] = "float32"
    """precision of the parameters in model.safetensors; once read, they are float32"""

    def content(self) -> dict[str, Any]:
        """The content of config.json."""
        return self.model_dump(mode="json", exclude={"about"} if self.about == About() else set())


def save_model(directory: Path, model: Transformer, tokenizers: Tokenizers, card: Card) -> None:
    """Writes the directory in full beside its place, and then puts it there.

    Raises UsageError, before anything is written, for a parameter that `card.weights` cannot hold, and for a place
    with files that are not of a model.
    """
    tensors = {name: _stored(name, np.asarray(value), card) for name, value in named(model).items()}
    new, old = directory.with_name(directory.name + ".new"), directory.with_name(directory.name + ".old")
    clear_leftovers(directory)
    new.mkdir(parents=True)
    _write_json(new / "config.json", card.content())
    save_file(tensors, new / "model.safetensors")
    (new / "model.safetensors").chmod((new / "config.json").stat().st_mode)  # safetensors lets its owner alone read it
    tokenizers.save(new)
    files = checksums(new, flush=True)
    _write_json(new / "manifest.json", {"format": FORMAT, "version": package_version(), "files": files})
    to_disk(new / "manifest.json")
    to_disk(new)
    if directory.exists():
        os.rename(directory, old)
    os.rename(new, directory)
    shutil.rmtree(old, ignore_errors=True)


def _stored(name: str, values: np.ndarray, card: Card) -> np.ndarray:
    """A parameter in the precision of the card."""
    with np.errstate(over="ignore"):
        stored = values.astype(jnp.dtype(card.weights), order="C", copy=False)  # safetensors writes memory as it lies
    if stored is not values and not np.isfinite(stored).all():
        raise UsageError(
            f"the tensor {name} has {np.abs(values).max():.6g}: {card.weights} cannot hold that; take another precision"
        )
    return stored


def clear_leftovers(directory: Path) -> None:
    """Ends what a `save_model` that was killed has begun. Raises UsageError where that would clear away other files."""
    new, old = directory.with_name(directory.name + ".new"), directory.with_name(directory.name + ".old")
    for place in (directory, new, old):
        if place.is_symlink():
            raise UsageError(
                f"{place}: is a link, where a model is to be written; remove it, or choose another run_dir"
            )
        check_ours(place, {"manifest.json", *MOST_BYTES, UNFINISHED})
    if old.exists() and not directory.exists():
        os.rename(old, directory)
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)


def package_version() -> str:
    """The version of this package, as manifests record it."""
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:  # used without being installed
        return "unknown"


def load_model(path: str | Path) -> tuple[Transformer, Tokenizers, Card]:
    """The model in a model directory, or the best one of a run directory. Raises UsageError in one line."""
    directory = find_model(path)
    _check_manifest(directory)
    card = read_card(directory / "config.json")
    tokenizers = Tokenizers.load(directory)
    pieces = tokenizers.source.vocab_size, tokenizers.target.vocab_size
    if pieces != (card.source_vocabulary, card.target_vocabulary):
        raise UsageError(
            f"{directory}: the tokenizers have {pieces[0]} and {pieces[1]} pieces, config.json asks for"
            f" {card.source_vocabulary} and {card.target_vocabulary}; copy the model again"
        )
    return _read_parameters(directory / "model.safetensors", card), tokenizers, card


def find_model(path: str | Path) -> Path:
    """Finds the model directory for a path, which may be a run directory or a model directory. Raises UsageError."""
    path = Path(path)
    try:
        for directory in (path / "model", path / "model.old"):  # .old: while `save_model` exchanges them
            if (directory / "manifest.json").is_file():
                return directory
        fault = _no_model(path)
    except OSError as problem:
        raise UsageError(
            f"{path}: cannot be read: {problem.strerror}; name a run or model directory that can"
        ) from None
    if fault:
        raise UsageError(f"{path}: {fault}")
    return path


def _no_model(path: Path) -> str:
    """The reason why a place is not a model directory, and what to name instead; "" if it may be one."""
    run = next((parent for parent in (*path.absolute().parents, *path.resolve().parents) if _is_run(parent)), None)
    if (path / "config.toml").is_file():
        return "this run has no model yet; train it further (a validation writes RUN/model)"
    if (path / "manifest.json").is_file() and not _is_of_run(path / "manifest.json"):
        return ""
    if run is not None:
        name = os.path.relpath(run)
        average = f"; for a model of its checkpoints: python -m transformer average {name} OUT --last 1"
        return f"is a part of the run {name}, not a model; name {name} for its best model{average}"
    if (path / "config.json").is_file() and (path / "vocab.json").is_file():
        return "is not a model of this package; to convert a Marian model of Hugging Face, use: import --from marian"
    if (path / "model.bin").is_file():
        return "is a model of CTranslate2; name the one that it was exported from"
    return "no model here; expected a run directory, or one with manifest.json and config.json"


def _is_run(path: Path) -> bool:
    return (path / "config.toml").is_file() and any((path / name).is_dir() for name in ("checkpoints", "model"))


def _is_of_run(manifest: Path) -> bool:
    """Whether a manifest is that of a checkpoint or of prepared data."""
    try:
        content = json.loads(manifest.read_bytes()) if manifest.stat().st_size <= MOST_BYTES_OF_HEADER else {}
    except (ValueError, RecursionError):  # reported when it is read
        content = {}
    is_checkpoint = (manifest.parent / "state").is_dir()
    return is_checkpoint or (isinstance(content, dict) and not content.keys().isdisjoint({"digest", "step"}))


def _check_manifest(directory: Path) -> None:
    path = directory / "manifest.json"
    try:
        if path.is_symlink() or path.stat().st_size > MOST_BYTES_OF_HEADER:
            raise ValueError("a link, or too large")
        manifest = json.loads(path.read_bytes())
        version, files = manifest["format"], manifest["files"]
        if type(version) is not int or not isinstance(files, dict):
            raise ValueError("no format, or no files")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
        raise _faulty(path, f"not a manifest: {problem}") from None
    if version != FORMAT:
        raise UsageError(f"{path}: model format {version}, this version reads {FORMAT}; {which_version(manifest)}")
    present = [name for name in MOST_BYTES if os.path.lexists(directory / name)]
    for name in ("config.json", "model.safetensors", *files, *present):
        file = directory / name
        if name not in MOST_BYTES or file.is_symlink() or not file.is_file():
            raise _faulty(file, "missing, a link, or not a file of a model")
        expected = files[name] if isinstance(files.get(name), dict) else {}
        try:
            size = file.stat().st_size  # first: it costs nothing, however large the file is
            differs = size != expected.get("bytes") or size > MOST_BYTES[name] or checksum(file) != expected
        except OSError as problem:
            raise _faulty(file, f"cannot be read: {problem.strerror}") from None
        if differs:
            raise _faulty(file, "differs from manifest.json (size, sha256)")


def which_version(manifest: dict[str, Any]) -> str:
    """Advice which version to install to read a manifest of another format."""
    version = manifest.get("version")
    if isinstance(version, str) and re.fullmatch(r"\d[\w.+!-]{0,30}", version, re.ASCII):
        return f"it was written by {PACKAGE} {version}: install that version or a newer one"
    return f"install another version of {PACKAGE}"


def read_card(path: Path) -> Card:
    """The content of a config.json. Raises UsageError."""
    try:
        return Card.model_validate_json(path.read_bytes())
    except ValidationError as problem:
        error = problem.errors()[0]
        if error["type"] == "value_error":  # of a validator, which names the key
            raise _faulty(path, error["msg"].removeprefix("Value error, ")) from None
        raise _faulty(path, f"{'.'.join(map(str, error['loc']))}: {error['msg']}".removeprefix(": ")) from None


def _read_parameters(path: Path, card: Card) -> Transformer:
    shape = nnx.eval_shape(
        lambda: Transformer(card.model, card.source_vocabulary, card.target_vocabulary, key=jax.random.key(0))
    )
    expected = named(shape)
    with open(path, "rb") as file:
        if int.from_bytes(file.read(8), "little") > MOST_BYTES_OF_HEADER:
            raise _faulty(path, "cannot be read: its header is too large")
    try:
        with safe_open(path, framework="numpy") as file:
            _check_names(path, set(file.keys()), set(expected))
            return with_values(
                shape, {name: _tensor(path, file, name, array.shape, card) for name, array in expected.items()}
            )
    except (OSError, SafetensorError) as problem:
        raise _faulty(path, f"cannot be read: {problem}") from None


def _check_names(path: Path, found: set[str], expected: set[str]) -> None:
    for name in sorted(expected - found):
        raise _faulty(path, f"the tensor {name} is missing")
    for name in sorted(found - expected):
        raise _faulty(path, f"the tensor {name} is none of this model's")


def _tensor(path: Path, file: Any, name: str, shape: tuple[int, ...], card: Card) -> np.ndarray:
    """A parameter, float32 whatever its precision in the file."""
    header = file.get_slice(name)
    found, expected = (header.get_dtype(), tuple(header.get_shape())), (STORED[card.weights], shape)
    if found != expected:
        raise _faulty(path, f"{name} is {found[0]} {found[1]}, config.json asks for {expected[0]} {shape}")
    values = file.get_tensor(name).astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise _faulty(path, f"the tensor {name} has numbers that are not finite")
    return values


def _faulty(path: Path, fault: str) -> UsageError:
    return UsageError(f"{one_line(str(path))}: {one_line(fault)}; copy the model again")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf8")
