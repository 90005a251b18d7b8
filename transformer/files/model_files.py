"""Finds a model directory, checks that its files are complete and unchanged, and reads its tensors.

Model directories are copied between machines and users, so nothing in them is trusted: every size is bounded, and every
file is compared with the manifest before it is read (translation/model_dir.py).
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from transformer.errors import UsageError, one_line
from transformer.files.atomic import recover_directory
from transformer.files.manifest import NAME as MANIFEST
from transformer.files.manifest import digest
from transformer.files.prepared import check_own_files
from transformer.version import which_version

FORMAT = 1
MAX_BYTES = {  # the largest size of each file that a model may have
    "config.json": 1 << 20,
    "model.safetensors": 1 << 40,
    **dict.fromkeys(("tokenizer.spm", "source.spm", "target.spm"), 1 << 26),
    **dict.fromkeys(("tokenizer.vocabulary.json", "source.vocabulary.json", "target.vocabulary.json"), 1 << 26),
}
UNFINISHED = ".tmp??????"  # the names that safetensors gives to files while it writes them
MAX_HEADER_BYTES = 1 << 20  # of the header of model.safetensors, and of manifest.json


def find_model(path: str | Path) -> Path:
    """Returns the model directory for a path, which may be a run directory or a model directory.

    Raises UsageError if there is no model, or if the path cannot be read.
    """
    path = Path(path)
    try:
        for directory in (path / "model", path / "model.old"):  # .old: while `save_model` replaces the model
            if (directory / MANIFEST).is_file():
                return directory
        fault = _fault_of_place(path)
    except OSError as problem:
        raise UsageError(
            f"{path}: cannot be read: {problem.strerror}; name a run or model directory that can be read"
        ) from None
    if fault:
        raise UsageError(f"{path}: {fault}")
    return path


def _fault_of_place(path: Path) -> str:
    """Returns why a path is not a model directory and what to name instead, or "" if it may be a model directory."""
    run = next((parent for parent in (*path.absolute().parents, *path.resolve().parents) if _is_run(parent)), None)
    if (path / "config.toml").is_file():
        return "this run has no model yet; train it further (a validation writes RUN/model)"
    if (path / MANIFEST).is_file() and not _belongs_to_run(path / MANIFEST):
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


def _belongs_to_run(manifest: Path) -> bool:
    """Whether a manifest belongs to a checkpoint or to prepared data."""
    try:
        content = json.loads(manifest.read_bytes()) if manifest.stat().st_size <= MAX_HEADER_BYTES else {}
    except (ValueError, RecursionError):  # `check_files` reports the error
        content = {}
    is_checkpoint = (manifest.parent / "state").is_dir()
    return is_checkpoint or (isinstance(content, dict) and not content.keys().isdisjoint({"digest", "step"}))


def check_files(directory: Path) -> None:
    """Compares the files with the manifest.

    Raises UsageError if the manifest is invalid, or if a file is missing, a link, changed, or not a file of a model.
    """
    path = directory / MANIFEST
    try:
        if path.is_symlink() or path.stat().st_size > MAX_HEADER_BYTES:
            raise ValueError("a link, or too large")
        manifest = json.loads(path.read_bytes())
        version, files = manifest["format"], manifest["files"]
        if type(version) is not int or not isinstance(files, dict):
            raise ValueError("no format, or no files")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
        raise model_file_error(path, f"not a manifest: {problem}") from None
    if version != FORMAT:
        raise UsageError(f"{path}: model format {version}, this version reads {FORMAT}; {which_version(manifest)}")
    present = [name for name in MAX_BYTES if os.path.lexists(directory / name)]
    for name in ("config.json", "model.safetensors", *files, *present):
        file = directory / name
        if name not in MAX_BYTES or file.is_symlink() or not file.is_file():
            raise model_file_error(file, "missing, a link, or not a file of a model")
        expected = files[name] if isinstance(files.get(name), dict) else {}
        try:
            size = file.stat().st_size  # compared first, because it is fast
            differs = size != expected.get("bytes") or size > MAX_BYTES[name] or digest(file) != expected
        except OSError as problem:
            raise model_file_error(file, f"cannot be read: {problem.strerror}") from None
        if differs:
            raise model_file_error(file, "differs from manifest.json (size, sha256)")


def new_and_old(directory: Path) -> tuple[Path, Path]:
    """Returns the temporary paths of a model that is being written, and of the model that it replaces."""
    return directory.with_name(directory.name + ".new"), directory.with_name(directory.name + ".old")


def clear_leftovers(directory: Path) -> None:
    """Completes or reverts a `save_model` that was interrupted.

    Raises UsageError if that would delete files that do not belong to a model, or if a link is in the way.
    """
    new, old = new_and_old(directory)
    for place in (directory, new, old):
        if place.is_symlink():
            raise UsageError(
                f"{place}: is a link, where a model is to be written; remove it, or choose another run_dir"
            )
        check_own_files(place, {MANIFEST, *MAX_BYTES, UNFINISHED})
    recover_directory(directory, old)
    shutil.rmtree(new, ignore_errors=True)


_STORED = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}  # names of dtypes in model.safetensors


def read_tensors(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> dict[str, np.ndarray]:
    """Reads the tensors that are named in `shapes` and stored as `dtype`, and converts them to float32.

    Raises UsageError if the file cannot be read, if a tensor is missing or unknown, if its shape or dtype differs, or
    if it has NaN or infinite values.
    """
    with open(path, "rb") as file:
        if int.from_bytes(file.read(8), "little") > MAX_HEADER_BYTES:
            raise model_file_error(path, "cannot be read: its header is too large")
    try:
        with safe_open(path, framework="numpy") as file:
            found = set(file.keys())
            for name in sorted(shapes.keys() - found):
                raise model_file_error(path, f"the tensor {name} is missing")
            for name in sorted(found - shapes.keys()):
                raise model_file_error(path, f"the tensor {name} does not belong to this model")
            return {name: _read_tensor(path, file, name, shape, dtype) for name, shape in shapes.items()}
    except (OSError, SafetensorError) as problem:
        raise model_file_error(path, f"cannot be read: {problem}") from None


def _read_tensor(path: Path, file: Any, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    header = file.get_slice(name)
    found, expected = (header.get_dtype(), tuple(header.get_shape())), (_STORED[dtype], shape)
    if found != expected:
        raise model_file_error(path, f"{name} is {found[0]} {found[1]}, config.json asks for {expected[0]} {shape}")
    values = file.get_tensor(name).astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise model_file_error(path, f"the tensor {name} has NaN or infinite values")
    return values


def model_file_error(path: Path, fault: str) -> UsageError:
    """Returns the error for a file of a model that is missing, damaged or invalid."""
    return UsageError(f"{one_line(str(path))}: {one_line(fault)}; copy the model again")
