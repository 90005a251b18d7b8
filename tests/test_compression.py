"""Compressed text is read wherever text is read, by the suffix of its file; damage is one error that names the file."""

import bz2
import gzip
import importlib.util
import json
import lzma
import random
import sys
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from calling import Caller
from preparing import fails, sides
from transformer.cli.input import read_text
from transformer.data.compression import CHUNK
from transformer.data.corpus import Pair, open_corpus
from transformer.data.formats.text import count_lines
from transformer.data.lines import COMPRESSIONS, compression, open_bytes, read_blocks
from transformer.errors import DataError, UsageError
from translating import Command

Pack = Callable[[bytes], bytes]

# Python before 3.14 needs a package for .zst: `make test` installs it.
ZSTANDARD = next((importlib.import_module(name) for name in ("zstandard",) if importlib.util.find_spec(name)), None)
PACKERS: dict[str, Pack] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
if ZSTANDARD is not None:
    PACKERS[".zst"] = ZSTANDARD.ZstdCompressor(write_checksum=True).compress

PAIRS = [Pair("סבתא ישנה.", "დიდედა იძინებს."), Pair("שלג.", "თოვლი.")] * 40
RANDOM = random.Random(1)
CONTENT = b"".join(b"%d \xe1\x83\x90 %s\n" % (number, RANDOM.randbytes(40).hex().encode()) for number in range(9000))


def test_every_compression_is_tested() -> None:
    assert {*PACKERS, ".zst"} == set(COMPRESSIONS)
    assert ZSTANDARD is not None or pytest.skip("zstandard is not installed")
    assert [compression(f"a.tsv{suffix}") for suffix in COMPRESSIONS] == list(COMPRESSIONS)
    assert compression("a.gz.tsv") == compression("gz") == ""


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_file_of_several_parts_is_read_to_its_end(tmp_path: Path, suffix: str) -> None:
    pack, path = PACKERS[suffix], tmp_path / f"text{suffix}"
    cuts = [0, 1, 100, 100, len(CONTENT) // 2, len(CONTENT)]
    for packed, content in (
        (pack(CONTENT), CONTENT),
        (b"".join(pack(CONTENT[a:b]) for a, b in pairwise(cuts)), CONTENT),
        (pack(b""), b""),
        (pack(b"") + pack(b"x"), b"x"),
    ):
        path.write_bytes(packed)
        with open_bytes(path) as stream:
            assert b"".join(read_blocks(stream)) == content
        assert count_lines(path) == content.count(b"\n") + (not content.endswith(b"\n") and content != b"")


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("form", ["prefix", "tsv", "jsonl"])
def test_every_text_format_can_be_compressed(tmp_path: Path, suffix: str, form: str) -> None:
    texts = {
        "he": [pair.source for pair in PAIRS],
        "ka": [pair.target for pair in PAIRS],
        "tsv": ["\t".join(pair) for pair in PAIRS],
        "jsonl": [json.dumps({"ka": pair.target, "he": pair.source}) for pair in PAIRS],
    }
    for name in ("he", "ka") if form == "prefix" else (form,):
        content = "".join(text + "\n" for text in texts[name]).encode()
        (tmp_path / f"a.{name}{suffix}").write_bytes(PACKERS[suffix](content))
        (tmp_path / f"plain.{name}").write_bytes(content)
    packed, plain = ("a", "plain") if form == "prefix" else (f"a.{form}{suffix}", f"plain.{form}")
    corpora = [open_corpus(str(tmp_path / name), "he", "ka", "train") for name in (packed, plain)]
    assert list(corpora[0]) == list(corpora[1]) == PAIRS
    assert corpora[0].identity == corpora[1].identity


def damage(packed: bytes) -> dict[str, bytes]:
    middle = len(packed) // 2
    flipped = bytes(byte ^ 255 for byte in packed[middle : middle + 64])
    return {
        "cut": packed[:middle],
        "the last byte is missing": packed[:-1],
        "other bytes": packed[:middle] + flipped + packed[middle + 64 :],
        "not compressed": b"plain text\n" * 20,
        "empty": b"",
    }


@pytest.mark.fault("T17")
@pytest.mark.parametrize("kind", damage(b""))
@pytest.mark.parametrize("suffix", PACKERS)
def test_damage_is_one_error_that_names_the_file(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_bytes(damage(PACKERS[suffix](CONTENT))[kind])
    with pytest.raises(DataError) as caught:
        count_lines(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(DataError, match="text"):
        read_text(str(path))


@pytest.mark.fault("T17")
@pytest.mark.parametrize("suffix", PACKERS)
def test_a_damaged_corpus_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    table = b"\n".join(b"\t".join(pair) for pair in zip(*sides(1000), strict=True))
    (tmp_path / f"train.tsv{suffix}").write_bytes(PACKERS[suffix](table)[:-11])
    error = fails(capsys, tmp_path, 3, str(tmp_path / f"train.tsv{suffix}"))
    assert f"train.tsv{suffix}: cannot be read to its end, only its first" in error


@pytest.mark.parametrize("suffix", PACKERS)
def test_commands_read_compressed_lines(
    tmp_path: Path, translate: Command, call: Caller, model_dir: Path, suffix: str
) -> None:
    lines = "A dog sleeps.\nשלום\n".encode()
    path = tmp_path / f"in{suffix}"
    path.write_bytes(PACKERS[suffix](lines))
    assert translate(b"", "-i", path) == translate(lines)
    (tmp_path / "in").write_bytes(lines)
    results = []
    for name in (path, tmp_path / "in"):
        scored = call("score", "--model", model_dir, "--source", name, "--target", name)
        results.append((scored.code, scored.out, call("evaluate", "--hypothesis", name, "--reference", path).out))
    assert results[0] == results[1] and results[0][0] == 0 and results[0][2]


@pytest.mark.fault("T17")
def test_zst_without_its_package_is_an_error_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("zstandard", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it fails
    (tmp_path / "a.tsv.zst").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"a\.tsv\.zst: .*pip install zstandard"):
        open_corpus(str(tmp_path / "a.tsv.zst"), "he", "ka", "train")


def test_a_compressed_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet.xz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a\.parquet\.xz"):
        open_corpus(str(tmp_path / "a.parquet.xz"), "he", "ka", "train")


@pytest.mark.skipif(ZSTANDARD is None, reason="zstandard is not installed")
def test_a_small_file_that_contains_much_is_read_in_little_memory(tmp_path: Path) -> None:
    packed = PACKERS[".zst"](b"\n" * (1 << 28))
    assert len(packed) > CHUNK
    (tmp_path / "a.zst").write_bytes(packed)
    tracemalloc.start()
    try:
        assert count_lines(tmp_path / "a.zst") == 1 << 28
        assert tracemalloc.get_traced_memory()[1] < 1 << 26
    finally:
        tracemalloc.stop()
