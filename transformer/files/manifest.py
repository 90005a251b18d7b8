"""The manifest of a directory: what it was made from, and the size and sha256 of each file.

It is written last, so that a directory without a manifest is incomplete. Checkpoints, prepared corpora and models have
one each. A sealed manifest also contains its own sha256, under "seal"; the manifest of a model is not sealed.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformer.files.atomic import flush, write_file

NAME = "manifest.json"

FileDigests = dict[str, dict[str, Any]]  # "folder/file" -> {"bytes": size, "sha256": hexadecimal}


def write_manifest(directory: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the sealed manifest of a complete directory: the content, with the digests of all files under "files".

    The files are on the disk before the manifest is.
    """
    manifest = {**content, "files": digests(directory, flush_files=True)}
    write_file(directory / NAME, seal(manifest))
    flush(directory)
    return manifest


def enclosing(path: Path) -> Path | None:
    """Returns the nearest folder around a path that has a manifest: a model, a checkpoint, or prepared data."""
    return next((parent for parent in path.parents if (parent / NAME).exists()), None)


def digests(directory: Path, *, flush_files: bool = False) -> FileDigests:
    """Returns the digests of every file in the directory and its folders, flushed to the disk first if asked."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): digest(path, flush_file=flush_files) for path in files}


def digest(path: Path, *, flush_file: bool = False) -> dict[str, Any]:
    """Returns the size and the sha256 of a file."""
    with open(path, "rb") as file:
        if flush_file:
            os.fsync(file.fileno())
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def find_damage(directory: Path, files: Mapping[str, Any]) -> str | None:
    """Returns the first file that differs from its digest, and how; None if all are unchanged. Ignores other files."""
    for name, expected in files.items():
        path = directory / name
        try:
            if path.stat().st_size != expected["bytes"]:  # first, because it costs nothing for a large file
                return f"{name}: the size differs"
            if digest(path)["sha256"] != expected["sha256"]:
                return f"{name}: the sha256 differs"
        except OSError as problem:
            return f"{name}: {problem.strerror}"
    return None


def seal(content: Mapping[str, Any]) -> str:
    """Returns the content as JSON with its own sha256 under "seal": no other file has the checksum of a manifest."""
    sha256 = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, "seal": sha256}, indent=1)


def unseal(text: str) -> dict[str, Any]:
    """Returns the content that `seal` was given. Raises ValueError if the text is not exactly what `seal` returned."""
    content = json.loads(text)
    if isinstance(content, dict):
        content.pop("seal", None)
        if seal(content) == text:
            return content
    raise ValueError("differs from its own sha256")
