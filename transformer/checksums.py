"""Size and sha256 of the files of a directory, and what has become of them since."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Checksums = dict[str, dict[str, Any]]  # "folder/file" -> {"bytes": size, "sha256": hexadecimal}


def checksums(directory: Path, *, flush: bool = False) -> Checksums:
    """Of every file in the directory and its folders; with `flush`, once the disk has them, not only the system."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): checksum(path, flush=flush) for path in files}


def checksum(path: Path, *, flush: bool = False) -> dict[str, Any]:
    with open(path, "rb") as file:
        if flush:
            os.fsync(file.fileno())
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def damage(directory: Path, files: Mapping[str, Any]) -> str | None:
    """The first of the files that is not what it was, in a few words; None: all are. Files beside them do not count."""
    for name, expected in files.items():
        path = directory / name
        try:
            if path.stat().st_size != expected["bytes"]:  # first: it costs nothing, however large the file is
                return f"{name}: bytes differs"
            if checksum(path)["sha256"] != expected["sha256"]:
                return f"{name}: sha256 differs"
        except OSError as problem:
            return f"{name}: {problem.strerror}"
    return None


def to_disk(path: Path) -> None:
    """Returns once the disk has the file, or the names in the directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sealed(content: Mapping[str, Any]) -> str:
    """The content as JSON that says of itself, under "seal", what it is: of a manifest, which nothing else lists."""
    seal = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, "seal": seal}, indent=1)


def unsealed(text: str) -> dict[str, Any]:
    """What `sealed` was given. Raises ValueError where the text is another by now, if only in a last digit."""
    content = json.loads(text)
    if isinstance(content, dict):
        content.pop("seal", None)
        if sealed(content) == text:
            return content
    raise ValueError("differs from its own sha256")
