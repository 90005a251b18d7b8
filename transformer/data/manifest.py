"""Work done once: a directory with a manifest, which says from what its files were made, and stands last."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

NAME = "manifest.json"


def is_made(directory: Path, digest: str) -> dict[str, Any] | None:
    """The manifest of a directory that was made in full from what has this digest, or None."""
    try:
        content = json.loads((directory / NAME).read_text(encoding="utf8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if content.get("digest") == digest else None


def begin(directory: Path) -> None:
    """An empty directory. The manifest goes first: files without one are not taken for whole."""
    (directory / NAME).unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)


def finish(directory: Path, digest: str, **content: Any) -> dict[str, Any]:
    """Writes the manifest, at once and whole, and gives it back."""
    manifest = {"digest": digest, **content}
    unfinished = directory / f"{NAME}.unfinished"
    unfinished.write_text(json.dumps(manifest), encoding="utf8")
    os.replace(unfinished, directory / NAME)
    return manifest
