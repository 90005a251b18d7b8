"""The model directory: what training leaves for translation, and what a person copies elsewhere.

    config.json         languages, the shape of the model, special ids, defaults of decoding
    model.safetensors   the parameters, float32, by name
    tokenizer.spm       SentencePiece, for both sides; or source.spm and target.spm
    manifest.json       format version, and size and sha256 of each file

It is data only, and its bytes follow from config, data, seed and software versions: no times, no paths, no names.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from transformer.config import Decode, Model, Section
from transformer.data.tokenizer import Tokenizers
from transformer.errors import UsageError
from transformer.model.parameters import named, with_values
from transformer.model.transformer import Transformer

FORMAT = 1


class Card(Section):
    """config.json: what a model is."""

    source: str
    """language code of the source"""
    target: str
    """language code of the target"""
    source_vocabulary: int
    target_vocabulary: int
    max_length: int
    """tokens of the longest source it was trained on, end of sentence included"""
    model: Model
    decode: Decode


def save_model(directory: Path, model: Transformer, tokenizers: Tokenizers, card: Card) -> None:
    """Writes the directory in full beside its place, and then puts it there."""
    new, old = directory.with_name(directory.name + ".new"), directory.with_name(directory.name + ".old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    _write_json(new / "config.json", card.model_dump(mode="json"))
    save_file({name: np.asarray(value) for name, value in named(model).items()}, new / "model.safetensors")
    tokenizers.save(new)
    files = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in sorted(new.iterdir())}
    _write_json(new / "manifest.json", {"format": FORMAT, "files": files})
    if directory.exists():
        os.rename(directory, old)
    os.rename(new, directory)
    shutil.rmtree(old, ignore_errors=True)


def load_model(path: str | Path) -> tuple[Transformer, Tokenizers, Card]:
    """The model in a model directory, or the best one of a run directory. Raises UsageError in one line."""
    directory = find_model(path)
    _check_manifest(directory)
    card = _read_card(directory / "config.json")
    tokenizers = Tokenizers.load(directory)
    pieces = tokenizers.source.vocab_size, tokenizers.target.vocab_size
    if pieces != (card.source_vocabulary, card.target_vocabulary):
        raise UsageError(
            f"{directory}: the tokenizers have {pieces[0]} and {pieces[1]} pieces, config.json asks for"
            f" {card.source_vocabulary} and {card.target_vocabulary}; copy the model again"
        )
    return _read_parameters(directory / "model.safetensors", card), tokenizers, card


def _read_card(path: Path) -> Card:
    try:
        return Card.model_validate_json(path.read_bytes())
    except ValidationError as problem:
        error = problem.errors()[0]
        raise UsageError(f"{path}: {'.'.join(map(str, error['loc']))}: {error['msg']}; copy the model again") from None
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror}; copy the model again") from None


def _read_parameters(path: Path, card: Card) -> Transformer:
    try:
        values = load_file(path)
    except (OSError, SafetensorError) as problem:
        raise UsageError(f"{path}: cannot be read: {problem}; copy the model again") from None
    shape = nnx.eval_shape(
        lambda: Transformer(card.model, card.source_vocabulary, card.target_vocabulary, key=jax.random.key(0))
    )
    for name, expected in named(shape).items():
        if name not in values:
            raise UsageError(f"{path}: the tensor {name} is missing; copy the model again")
        found = values[name]
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise UsageError(
                f"{path}: {name} is {found.dtype} {found.shape}, config.json asks for"
                f" {expected.dtype} {expected.shape}; copy the model again"
            )
    return with_values(shape, values)


def find_model(path: str | Path) -> Path:
    """The model directory that a user means by a run directory or a model directory."""
    path = Path(path)
    for directory in (path / "model", path):
        if (directory / "manifest.json").is_file():
            return directory
    if (path / "config.toml").is_file():
        raise UsageError(f"{path}: this run has no model yet; train it further (a validation writes RUN/model)")
    raise UsageError(f"{path}: no model here; expected a run directory, or one with manifest.json and config.json")


def _check_manifest(directory: Path) -> None:
    try:
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf8"))
        version = int(manifest["format"])
        files = {name: (entry["bytes"], entry["sha256"]) for name, entry in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise UsageError(f"{directory / 'manifest.json'}: not a manifest: {problem}; copy the model again") from None
    if version != FORMAT:
        raise UsageError(
            f"{directory / 'manifest.json'}: model format {version}, this version reads {FORMAT}; install another one"
        )
    for name in ("config.json", "model.safetensors", *files):
        path = directory / name
        if Path(name).name != name or not path.is_file():
            raise UsageError(f"{path}: missing, or not a file of a model; copy the model again")
        if (path.stat().st_size, _sha256(path)) != files.get(name):
            raise UsageError(f"{path}: differs from manifest.json (size, sha256); copy the model again")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf8")
