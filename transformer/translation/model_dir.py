"""Writes and reads model directories. Training writes them, translation reads them, and users copy them elsewhere.

    config.json         languages, the shape of the model, defaults of decoding (model_config.py)
    model.safetensors   the parameters by name, in the precision that config.json states
    tokenizer.spm       SentencePiece, for both sides; or source.spm and target.spm
    *.vocabulary.json   imported models only: the ids of the pieces, if they differ from those of the .spm
    manifest.json       format version, version of this package, and size and sha256 of each file

A model directory has no code, times or paths. On the same hardware, its bytes depend only on config, data, seed and
software versions. It may come from an untrusted author, so the size of everything in it is limited, and is checked
before memory is allocated for it (files/model_files.py).
"""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import save_file

from transformer.data.tokenizer import Tokenizers
from transformer.errors import UsageError, cannot_write
from transformer.files.atomic import flush, put_directory
from transformer.files.manifest import NAME as MANIFEST
from transformer.files.manifest import digests
from transformer.files.model_files import (
    FORMAT,
    check_files,
    clear_leftovers,
    find_model,
    model_file_error,
    new_and_old,
    read_tensors,
)
from transformer.model.parameters import named, with_values
from transformer.model.transformer import Transformer
from transformer.translation.model_config import ModelConfig
from transformer.version import package_version


def save_model(directory: Path, model: Transformer, tokenizers: Tokenizers, config: ModelConfig) -> None:
    """Writes a model directory, or replaces one.

    If the process is killed, no file is half written: the directory has the old or the new content, or it is missing
    and DIRECTORY.old has the old content, which the next `save_model` renames back.

    Raises UsageError, before anything is written, if `config.weights` cannot represent a parameter, or if the directory
    has files that do not belong to a model. Raises ResourceError if a file cannot be written.
    """
    tensors = {name: _stored(name, np.asarray(value), config) for name, value in named(model).items()}
    new, old = new_and_old(directory)
    clear_leftovers(directory)
    try:
        new.mkdir(parents=True)
        _write_json(new / "config.json", config.content())
        save_file(tensors, new / "model.safetensors")
        (new / "model.safetensors").chmod((new / "config.json").stat().st_mode)  # safetensors gives it mode 0600
        tokenizers.save(new)
        files = digests(new, flush_files=True)
        _write_json(new / MANIFEST, {"format": FORMAT, "version": package_version(), "files": files})
        flush(new / MANIFEST)
        flush(new)
        put_directory(new, directory, old)
    except (OSError, SafetensorError) as problem:
        clear_leftovers(directory)
        raise cannot_write(directory, problem) from problem


def _stored(name: str, values: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Returns a parameter in the precision of the config. Raises UsageError if it cannot represent a value."""
    with np.errstate(over="ignore"):
        stored = values.astype(jnp.dtype(config.weights), order="C", copy=False)  # safetensors ignores strides
    if stored is not values and not np.isfinite(stored).all():
        raise UsageError(
            f"the tensor {name} has {np.abs(values).max():.6g}, which {config.weights} cannot represent; choose another"
            " precision"
        )
    return stored


def load_model(path: str | Path) -> tuple[Transformer, Tokenizers, ModelConfig]:
    """Loads a model directory, or the best model of a run directory. Raises UsageError if it is missing or invalid."""
    directory = find_model(path)
    check_files(directory)
    config = read_model_config(directory / "config.json")
    tokenizers = Tokenizers.load(directory)
    pieces = tokenizers.source.vocab_size, tokenizers.target.vocab_size
    if pieces != (config.source_vocabulary, config.target_vocabulary):
        raise UsageError(
            f"{directory}: the tokenizers have {pieces[0]} and {pieces[1]} pieces, config.json states"
            f" {config.source_vocabulary} and {config.target_vocabulary}; copy the model again"
        )
    model = config.abstract_model()
    shapes = {name: parameter.shape for name, parameter in named(model).items()}
    tensors = read_tensors(directory / "model.safetensors", shapes, config.weights)
    return with_values(model, tensors), tokenizers, config


def read_model_config(path: Path) -> ModelConfig:
    """Reads a config.json. Raises UsageError, which names the key, if it is invalid."""
    try:
        return ModelConfig.model_validate_json(path.read_bytes())
    except ValidationError as problem:
        error = problem.errors()[0]
        if error["type"] == "value_error":  # raised by a validator, which names the key
            raise model_file_error(path, error["msg"].removeprefix("Value error, ")) from None
        raise model_file_error(path, f"{'.'.join(map(str, error['loc']))}: {error['msg']}".removeprefix(": ")) from None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf8")
