"""A byte order mark is dropped wherever text is read, and UTF-16 is refused by its name."""

import gzip
import json
from pathlib import Path

import pytest

from transformer.cli.main import run
from transformer.config import loading
from transformer.data.corpus import Pair, open_corpus
from transformer.errors import DataError, UsageError
from transformer.files.encoding import encoding_fault
from translating import SENTENCES, Command

MARK = b"\xef\xbb\xbf"
LINES = ["Guten Morgen", "Доброе утро", "καλημέρα"]
WIDE = ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]


@pytest.mark.fault("T26")
@pytest.mark.parametrize("form", ["prefix", "prefix.gz", "tsv", "jsonl"])
def test_a_mark_at_the_start_of_a_corpus_is_dropped(tmp_path: Path, form: str) -> None:
    if form.startswith("prefix"):
        gz, compress = (".gz", gzip.compress) if form.endswith(".gz") else ("", bytes)
        for language in ("de", "ru"):
            Path(tmp_path / f"x.{language}{gz}").write_bytes(compress(MARK + "\n".join(LINES).encode()))
        name = tmp_path / "x"
    else:
        rows = {
            "tsv": [f"{line}\t{line}" for line in LINES],
            "jsonl": [json.dumps({"de": line, "ru": line}) for line in LINES],
        }
        name = tmp_path / f"x.{form}"
        name.write_bytes(MARK + "\n".join(rows[form]).encode())
    assert list(open_corpus(str(name), "de", "ru", "train")) == [Pair(line, line) for line in LINES]


@pytest.mark.fault("T26")
def test_a_mark_at_the_start_of_a_config_is_dropped(tmp_path: Path) -> None:
    text = 'run_dir = "r"\r\n[data]\r\nsource = "es"\ntarget = "qu"\ntrain = ["ñ"]\nvalid = ["v"]\n'
    (tmp_path / "c.toml").write_bytes(MARK + text.encode())
    assert loading.load(tmp_path / "c.toml").data.train == ("ñ",)
    for encoding in WIDE:
        (tmp_path / "c.toml").write_bytes(text.encode(encoding))
        with pytest.raises(UsageError, match=rf"c\.toml: is {encoding[:6].upper()}.*iconv -f {encoding[:6].upper()}"):
            loading.load(tmp_path / "c.toml")


@pytest.mark.fault("X27")
def test_a_mark_at_the_start_of_an_input_is_dropped(translate: Command, tmp_path: Path) -> None:
    text = "\n".join(SENTENCES).encode()
    (tmp_path / "in").write_bytes(MARK + text)
    plain = translate(text, "--format", "jsonl").out
    assert (
        translate(MARK + text, "--format", "jsonl").out
        == translate(b"", "-i", tmp_path / "in", "--format", "jsonl").out
    )
    assert translate(MARK + text, "--format", "jsonl").out == plain
    assert translate(text + b"\n" + MARK + b"a").out.count(b"\n") == len(SENTENCES) + 1


@pytest.mark.fault("X27")
@pytest.mark.parametrize("encoding", WIDE)
def test_an_input_in_utf16_is_named(translate: Command, model_dir: Path, tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "in.txt"
    file.write_bytes("\n".join(SENTENCES).encode(encoding))
    (tmp_path / "good.txt").write_text("\n".join(SENTENCES), encoding="utf8")
    name = encoding[:6].upper()
    found = translate(b"", "-i", file, "-o", tmp_path / "out")
    assert found.code == 3 and f"{file}: is {name}" in found.err and not (tmp_path / "out").exists()
    assert translate(file.read_bytes()).code == 3
    words = ["--model", str(model_dir), "--source", str(file), "--target", str(tmp_path / "good.txt")]
    assert run("score", words) == 3
    assert run("evaluate", ["--hypothesis", str(file), "--reference", str(tmp_path / "good.txt")]) == 3
    with pytest.raises(DataError, match=f"is {name}"):
        (tmp_path / "x.tsv").write_bytes("eins\tun\nzwei\tdeux\n".encode(encoding))
        open_corpus(str(tmp_path / "x.tsv"), "de", "fr", "train")


def test_text_with_some_nul_is_not_taken_for_utf16() -> None:
    for text in (
        b"",
        b"\0",
        b"\0" * 100,
        b"a\0b\0c",
        "日本語".encode("utf-16-le"),
        b"a\0" + b"word " * 20,
        MARK,
        b"\xff",
    ):
        assert encoding_fault("x", text) == ""
    assert "UTF-16BE" in encoding_fault("x", "Straße".encode("utf-16-be"))
    assert "iconv -f UTF-16" in encoding_fault("x.gz", "Été et hiver".encode("utf-16"))
