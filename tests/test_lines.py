"""The line contract: LF alone ends a line, whoever reads the output counts as many lines as went in."""

import errno
import gzip
import io
import os
import re
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.data import lines
from transformer.data.checks.damage import UNDAMAGED_BLOCK
from transformer.data.formats.text import count_lines
from transformer.data.lines import (
    decode_line,
    one_line,
    open_bytes,
    read_blocks,
    read_lines,
)
from transformer.errors import DataError

BREAKS = "\n\r\0\v\f\x1c\x1d\x1e\x85\u2028\u2029"
ZOO = [
    b"",
    b"\n",
    b"a",
    b"a\n",
    b"a\nb",
    b"a\r\nb\r\n",
    b"a\rb\n",
    b"\n\n",
    b"a\0b\n",
    "a\u2028b\x85\n".encode(),
    b"\xff\n",
]


def read(content: bytes) -> list[bytes]:
    return list(read_lines(io.BytesIO(content)))


def test_only_lf_ends_a_line() -> None:
    for mark in BREAKS.replace("\n", ""):
        assert read(f"a{mark}b\nc\n".encode()) == [f"a{mark}b".encode(), b"c"]


def test_one_cr_before_lf_is_dropped_and_no_other() -> None:
    assert read(b"a\r\nb\r\r\n\r\nc\r") == [b"a", b"b\r", b"", b"c\r"]


def test_last_line_without_lf_counts() -> None:
    assert read(b"a\nb") == read(b"a\nb\n") == [b"a", b"b"]
    assert read(b"a\n\n") == [b"a", b""]
    assert read(b"") == []


class Terminal(io.RawIOBase):
    """Somebody typing: each read gives one more line, without end."""

    typed = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        assert self.typed < 3, "reads on before it hands out what it has"
        self.typed += 1
        buffer[:5] = b"line\n"
        return 5


def test_a_line_is_there_as_soon_as_it_has_arrived() -> None:
    terminal = Terminal()
    found = read_lines(io.BufferedReader(terminal))
    for typed in (1, 2, 3):
        assert next(found) == b"line"
        assert terminal.typed == typed


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("block", [1, 2, lines.BLOCK])
def test_counting_agrees_with_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, block: int) -> None:
    monkeypatch.setattr(lines, "BLOCK", block)
    path = tmp_path / f"text{suffix}"
    for content in ZOO:
        path.write_bytes(gzip.compress(content) if suffix else content)
        with open_bytes(path) as stream:
            found = list(read_lines(stream))
        assert found == read(content)
        assert count_lines(path) == len(found)
        with open_bytes(path) as stream:
            assert b"".join(read_blocks(stream)) == content


@given(st.text(st.characters(exclude_categories=())))
def test_what_goes_out_is_one_line_of_valid_utf8(text: str) -> None:
    out = one_line(text)
    assert not set(out) & set(BREAKS)
    assert len(out.splitlines()) <= 1
    assert len(out) == len(text)
    assert out.encode().decode() == out


@given(st.text(st.characters(exclude_characters=BREAKS, exclude_categories=["Cs"])))
def test_nothing_else_is_changed(text: str) -> None:
    assert one_line(text) == text


@pytest.mark.parametrize("mark", BREAKS)
def test_each_break_is_one_space(mark: str) -> None:
    assert one_line(f"a{mark}{mark}b") == "a  b"


def test_surrogates_and_invalid_bytes_become_replacement_characters() -> None:
    assert one_line("a\ud800b\udfff") == "a\ufffdb\ufffd"
    assert decode_line(b"a\xffb\xc3") == "a\ufffdb\ufffd"
    assert decode_line("größer".encode()) == "größer"


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.gz: no such file$"):
        open_bytes(tmp_path / "none.gz")
    with pytest.raises(DataError, match="is a directory"):
        open_bytes(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "garbage", "sum", "block"])
def test_a_damaged_gz_is_an_error_that_names_it(tmp_path: Path, damage: str) -> None:
    whole = gzip.compress(os.urandom(5000))
    broken = {
        "cut": whole[:3000],
        "garbage": b"no gzip\n",
        "sum": whole[:-6] + b"\0\0" + whole[-4:],
        "block": whole[:10] + b"\xff" + whole[11:],
    }[damage]
    (tmp_path / "bad.gz").write_bytes(broken)
    with pytest.raises(DataError, match=r"bad\.gz: cannot be read to its end"):
        count_lines(tmp_path / "bad.gz")
    with pytest.raises(DataError, match=r"bad\.gz"), open_bytes(tmp_path / "bad.gz") as stream:
        list(read_lines(stream))


@pytest.mark.parametrize("members", [1, 2])
def test_of_a_cut_gz_is_told_how_much_can_be_unpacked(tmp_path: Path, members: int) -> None:
    part = os.urandom(300_000)
    packed = gzip.compress(part)
    cut = packed * (members - 1) + packed[:200_000]
    sound = len(part) * (members - 1) + len(zlib.decompressobj(31).decompress(packed[:200_000]))
    (tmp_path / "cut.gz").write_bytes(cut)
    with pytest.raises(
        DataError, match=rf"cut\.gz: cannot be read to its end, only its first {sound:,} bytes, decompressed:"
    ):
        count_lines(tmp_path / "cut.gz")


def test_of_a_gz_with_a_bad_block_is_told_about_where_it_is(tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=31)
    sound = packer.compress(os.urandom(150_000)) + packer.flush(zlib.Z_FULL_FLUSH)  # the next byte begins a block
    rest = packer.compress(os.urandom(150_000)) + packer.flush()
    (tmp_path / "bad.gz").write_bytes(sound + b"\xff" + rest[1:])
    with pytest.raises(DataError, match=r"only its first [\d,]+ bytes, decompressed") as caught:
        count_lines(tmp_path / "bad.gz")
    told = int(re.findall(r"first ([\d,]+)", str(caught.value))[0].replace(",", ""))
    assert 150_000 - UNDAMAGED_BLOCK < told <= 150_000


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(lines, "open", refuse, raising=False)
    with pytest.raises(DataError, match=r"secret\.tsv: cannot be read: Permission denied$"):
        open_bytes(tmp_path / "secret.tsv")
