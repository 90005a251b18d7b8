"""Small corpora, and what prepares them or refuses them."""

import re
from pathlib import Path

import pytest

from transformer.cli.main import run
from transformer.config import Config
from transformer.data.clauses import clauses
from transformer.data.prepare import Prepared, open_all, prepare

PAIRS = [[source.encode(), target.encode()] for source, target in clauses("train", 1000)]

Lines = list[bytes]


def sides(count: int = 200) -> tuple[Lines, Lines]:
    source, target = zip(*PAIRS[:count], strict=True)
    return list(source), list(target)


def write(prefix: Path, source: Lines, target: Lines, last: bytes = b"\n") -> str:
    for language, content in (("en", source), ("de", target)):
        Path(f"{prefix}.{language}").write_bytes(b"\n".join(content) + last)
    return str(prefix)


def prepared(folder: Path, train: str, *, valid: str = "builtin:clauses:valid:20", **data: object) -> Prepared:
    named = {"source": "en", "target": "de", "train": (train,), "valid": (valid,)}
    config = Config.model_validate(
        {
            "run_dir": str(folder / "run"),
            "data": named | data,
            "tokenizer": {"vocab_size": 300, "byte_fallback": False, "train_lines": 50},
        }
    )
    return prepare(config, open_all(config), folder / "run" / "data")


def fails(capsys: pytest.CaptureFixture[str], folder: Path, code: int, train: str, *more: str) -> str:
    """The one line that the command gives; nothing has been computed."""
    config = folder / "config.toml"
    config.write_text(f'run_dir = "{folder / "run"}"\n[data]\nsource = "en"\ntarget = "de"\n', encoding="utf8")
    words = ["--data.train", train, *(more or ("--data.valid", "builtin:clauses:valid:20"))]
    capsys.readouterr()
    assert run("prepare", [str(config), *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: [^\n]+\n", err)
    assert not (folder / "run" / "data" / "tokenizer").exists()
    return err
