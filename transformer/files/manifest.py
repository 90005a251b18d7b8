"""The manifest of a directory: the size and sha256 of each file, and facts about the content, such as its format.

The manifest is written last, so a directory without one is incomplete. Each checkpoint, model and directory of prepared
data has a manifest. A sealed manifest also contains its own sha256, under "seal"; that of a model is not sealed.
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
    """Writes the sealed manifest of a complete directory, and returns it without the seal.

    The manifest has the entries of `content`, and the digests of all files under "files". The files are flushed to the
    disk before the manifest is written.
    """
    manifest = {**content, "files": digests(directory, flush_files=True)}
    write_file(directory / NAME, seal(manifest))
    flush(directory)
    return manifest


def enclosing(path: Path) -> Path | None:
    """Returns the nearest parent folder of a path that has a manifest (such as a model or a checkpoint), or None."""
    return next((parent for parent in path.parents if (parent / NAME).exists()), None)


def digests(directory: Path, *, flush_files: bool = False) -> FileDigests:
    """Returns the digest of every file in the directory and its subfolders. `flush_files`: flushes each file first."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): digest(path, flush_file=flush_files) for path in files}


def digest(path: Path, *, flush_file: bool = False) -> dict[str, Any]:
    """Returns the size and the sha256 of a file. `flush_file`: flushes the file to the disk first."""
    with open(path, "rb") as file:
        if flush_file:
            os.fsync(file.fileno())
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def find_damage(directory: Path, files: Mapping[str, Any]) -> str | None:
    """Returns the first of the `files` that differs from its digest, and how it differs; None if none differs."""
    for name, expected in files.items():
        path = directory / name
        try:
            if path.stat().st_size != expected["bytes"]:  # compared first, because it is fast even for a large file
                return f"{name}: the size differs"
            if digest(path)["sha256"] != expected["sha256"]:
                return f"{name}: the sha256 differs"
        except OSError as problem:
            return f"{name}: {problem.strerror}"
    return None


def seal(content: Mapping[str, Any]) -> str:
    """Returns the content as JSON, with its sha256 added under "seal".

    A manifest contains the sha256 of the other files, but no other file contains that of the manifest.
    """
    sha256 = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, "seal": sha256}, indent=1)


def unseal(text: str) -> dict[str, Any]:
    """Returns the content of a sealed manifest. Raises ValueError if the text is not exactly what `seal` returns."""
    content = json.loads(text)
    if isinstance(content, dict):
        content.pop("seal", None)
        if seal(content) == text:
            return content
    raise ValueError("differs from its own sha256")
