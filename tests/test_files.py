"""The streams of the commands: output files that are whole or not there, windows that do not keep anybody waiting."""

import errno
import gzip
import io
import json
import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import windows_of
from transformer.cli.input import Input, json_line, read_text
from transformer.cli.output import Output, open_output, refuse_overwriting
from transformer.errors import DataError, ResourceError, UsageError

CONTENT = b"one\r\ntwo\xff\n\nfour"
LINES = ["one", "two\ufffd", "", "four"]


def test_a_file_is_read_as_lines_packed_or_not(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(CONTENT)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(CONTENT))
    assert read_text(str(tmp_path / "plain")) == read_text(str(tmp_path / "packed.gz")) == LINES
    with pytest.raises(DataError, match="none: no such file"):
        read_text(str(tmp_path / "none"))


def test_an_output_is_there_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with open_output(str(path)) as stream:
        stream.write(b"x\n")
        assert not path.exists()
    assert path.read_bytes() == b"x\n"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("before", [None, b"old\n"])
def test_a_failure_changes_nothing(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "out"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(KeyboardInterrupt), open_output(str(path)) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt
    assert (path.read_bytes() if path.exists() else None) == before
    assert not list(tmp_path.glob("*.unfinished"))


def test_a_link_stays_a_link_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with open_output(str(tmp_path / "link")) as stream:
        stream.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """As /dev/null, which root could replace."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    found = []
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()))
    reader.start()
    with open_output(str(path)) as stream:
        stream.write(b"x\n")
    reader.join()
    assert found == [b"x\n"] and path.is_fifo()


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=f"{tmp_path / 'none' / 'out'}: cannot be written"):
        open_output(str(tmp_path / "none" / "out")).__enter__()
    with pytest.raises(UsageError, match="is a directory"):
        open_output(str(tmp_path)).__enter__()


@pytest.mark.parametrize("buffering", [0, 8192])
def test_a_full_pipe_that_does_not_wait_loses_nothing(buffering: int) -> None:
    content = b"".join(b"%d\n" % number for number in range(100_000))
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with open(reader, "rb") as out, ThreadPoolExecutor() as pool, open(writer, "wb", buffering=buffering) as stream:
        output = Output(stream)
        found = pool.submit(lambda: (time.sleep(0.1), out.read())[1])
        output.write(content[:100])
        output.write(content[100:])
        output.flush()
        stream.close()
        assert found.result() == content


def test_two_commands_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    (tmp_path / "out.unfinished").write_bytes(b"of a command that was killed, and longer")
    with open_output(str(path)) as stream:
        stream.write(b"one\n")
        with pytest.raises(UsageError, match=f"{path}: another command"), open_output(str(path)):
            pass
    assert path.read_bytes() == b"one\n"
    with open_output(str(path)) as stream:
        stream.write(b"two\n")
    assert path.read_bytes() == b"two\n"
    assert os.listdir(tmp_path) == ["out"]


def test_an_output_that_cannot_have_its_name_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a single file is mounted, or in a folder where nobody replaces another's files."""

    def busy(*names: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "replace", busy)
    with (
        pytest.raises(ResourceError, match="busy; the complete output is in"),
        open_output(str(tmp_path / "out")) as stream,
    ):
        stream.write(b"x\n")
    assert (tmp_path / "out.unfinished").read_bytes() == b"x\n"


def test_permissions_stay(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.touch()
    path.chmod(0o640)
    with open_output(str(path)) as stream:
        stream.write(b"x\n")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_socket_is_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the names of sockets are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(ResourceError, match="socket: cannot be written"), open_output("socket"):
            pass


def test_stdin_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with open(reader) as stdin, open(writer, "wb") as pipe, ThreadPoolExecutor() as pool:
        monkeypatch.setattr(sys, "stdin", stdin)
        found = pool.submit(read_text, "-")
        time.sleep(0.1)
        pipe.write(b"late\n")
        pipe.close()
        assert found.result() == ["late"]


def test_an_empty_file_is_no_packed_one(tmp_path: Path) -> None:
    (tmp_path / "in.gz").touch()
    with pytest.raises(DataError, match="is empty"):
        read_text(str(tmp_path / "in.gz"))
    (tmp_path / "in.gz").write_bytes(gzip.compress(b""))
    assert read_text(str(tmp_path / "in.gz")) == []


def test_what_is_read_and_the_model_are_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out.unfinished").touch()
    with pytest.raises(UsageError, match="an input"):
        refuse_overwriting(str(tmp_path / "out"), str(tmp_path / "out.unfinished"))
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "manifest.json").touch()
    for model in ("run", "run/model"):
        with pytest.raises(UsageError, match="whose files belong to the model"):
            refuse_overwriting(str(tmp_path / "run" / "model" / "new"), model=str(tmp_path / model))
    refuse_overwriting(str(tmp_path / "run" / "test.hyp"), model=str(tmp_path / "run"))
    refuse_overwriting(str(tmp_path / "model2"), model=str(tmp_path / "run" / "model"))
    refuse_overwriting("-", model=".")
    with open(tmp_path / "out", "ab") as stdout, open(tmp_path / "out") as stdin:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stdout))
        monkeypatch.setattr(sys, "stdin", stdin)
        for path in ("-", str(tmp_path / "out")):
            with pytest.raises(UsageError, match="stdout: is both the output and an input"):
                refuse_overwriting("-", path)


def test_inputs_are_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.touch()
    (tmp_path / "link").symlink_to("in")
    for output in (path, tmp_path / "link", tmp_path / ".." / tmp_path.name / "in"):
        with pytest.raises(UsageError, match="both the output and an input"):
            refuse_overwriting(str(output), "-", str(path))
    refuse_overwriting(str(tmp_path / "out"), str(path), "-")
    refuse_overwriting("-", "-", str(path))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_is_one_line_for_everybody(text: str) -> None:
    line = json_line({"text": text})
    assert len(line.splitlines()) == 1 and line.endswith("\n")
    assert json.loads(line) == {"text": text}


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_windows_of_a_file_are_full(tmp_path: Path, size: int) -> None:
    (tmp_path / "in").write_bytes(CONTENT)
    expected = [LINES[start : start + size] for start in range(0, len(LINES), size)]
    assert list(windows_of(Input(io.BytesIO(CONTENT), patience=0), size)) == expected
    with open(tmp_path / "in", "rb") as stream:
        assert list(windows_of(Input(stream, patience=0), size)) == expected


def test_lines_of_a_pipe_come_as_soon_as_they_are_written() -> None:
    """Each is answered before the next is written; and what came together goes together."""
    descriptor, writer = os.pipe()
    with open(descriptor, "rb") as stream, open(writer, "wb", buffering=0) as pipe:
        found = windows_of(Input(stream, patience=0.001), 10)
        for line in ("a", "b", ""):
            pipe.write(f"{line}\n".encode())
            assert next(found) == [line]
        pipe.write(b"c\nd\ne\nhalf")
        assert next(found) == ["c", "d", "e"]
        assert os.get_blocking(descriptor)
        pipe.write(b" a line\n")
        assert next(found) == ["half a line"]
        pipe.write(b"no end")
        pipe.close()
        assert list(found) == [["no end"]]


def test_a_slow_writer_of_many_lines_is_given_a_moment() -> None:
    descriptor, writer = os.pipe()
    with open(descriptor, "rb") as stream, open(writer, "wb", buffering=0) as pipe:
        found = windows_of(Input(stream, patience=5), 2)
        pipe.write(b"a\n")
        threading.Timer(0.05, lambda: pipe.write(b"b\n")).start()
        assert next(found) == ["a", "b"]
