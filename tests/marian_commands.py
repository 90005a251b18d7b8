"""The commands that import and export folders of Marian, in this process."""

from pathlib import Path

import pytest

from transformer.cli import main as door


def bring(folder: Path, out: Path, nothing: Path) -> Path:
    assert door.main(["import", str(folder), str(out), "--from", "marian", "--check", str(nothing)]) == 0
    return out


def give(model: Path, out: Path, nothing: Path) -> Path:
    assert door.main(["export", str(out), "--model", str(model), "--to", "marian", "--check", str(nothing)]) == 0
    return out


def fails(capsys: pytest.CaptureFixture[str], *words: object, code: int = 2) -> str:
    capsys.readouterr()
    assert door.main([str(word) for word in words]) == code
    out, told = capsys.readouterr()
    assert out == "" and told.startswith("error: ") and told.count("\n") == 1
    return told
