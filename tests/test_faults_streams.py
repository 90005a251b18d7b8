"""What can go wrong in the streams of translate and with its process, by the ids of docs/reliability.md."""

import io
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from streams import windows_of
from transformer.cli.input import Input
from transformer.cli.output import Output, open_output
from translating import FULL, ROOT, Command

pytestmark = pytest.mark.mixed_dtypes


# Streams and signals


def process(model_dir: Path, *words: object, **streams: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "translate.py"), "--model", str(model_dir), "--quiet", "--beam-size", "1"]
    return subprocess.Popen([*command, *map(str, words)], cwd=ROOT, **streams)


@pytest.mark.fault("X12")
def test_a_command_ends_with_its_reader(model_dir: Path) -> None:
    """At once and without a word, though it has nothing to write: its next batch may take long."""
    pipe = subprocess.PIPE
    with process(model_dir, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as running:
        running.stdin.write(b"A dog sleeps.\n")
        assert running.stdout.readline().endswith(b"\n")
        running.stdout.close()
        assert running.wait(5) == 141
        assert running.stderr.read() == b""


@pytest.mark.fault("X14")
def test_sigterm_leaves_whole_lines(model_dir: Path, translate: Command) -> None:
    lines = b"A dog sleeps.\nA cat\n" * 50_000
    whole = translate(b"A dog sleeps.\nA cat\n").out * 50_000
    pipe = subprocess.PIPE
    with process(model_dir, stdin=pipe, stdout=pipe, stderr=pipe) as running:
        os.set_blocking(running.stdin.fileno(), False)
        out = b""
        given = 0
        while out.count(b"\n") < 3000:
            if given < len(lines) and select.select([], [running.stdin], [], 0.01)[1]:
                given += os.write(running.stdin.fileno(), lines[given : given + 4096])
            if select.select([running.stdout], [], [], 0.01)[0]:
                out += os.read(running.stdout.fileno(), 1 << 16)
        running.terminate()
        rest, err = running.communicate()
        assert (running.returncode, err) == (143, b"")
    assert whole.startswith(out + rest) and (out + rest).endswith(b"\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.fault("X14")
def test_a_signal_waits_for_what_is_being_written(number: int, code: int) -> None:
    class Signalled(io.BytesIO):
        def write(self, content: bytes) -> int:
            super().write(content[:3])
            signal.raise_signal(number)
            return 3 + super().write(content[3:])

    stream = Signalled()
    handler = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    outside = signal.signal(number, handler)  # a shell's background job has SIGINT ignored, and that would stay so
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as end, Output(stream).handling_signals() as output:
        output.write(b"a line\n")
    assert (end.value.code, stream.getvalue()) == (code, b"a line\n")
    with pytest.raises(SystemExit) as end, Output(io.BytesIO()).handling_signals():
        signal.raise_signal(number)
    assert end.value.code == code
    assert signal.getsignal(number) is before
    signal.signal(number, outside)


@pytest.mark.fault("X14")
def test_a_signal_in_a_callback_of_jax_is_obeyed_at_the_next_line() -> None:
    """Nothing that is raised there is heard of, but for a traceback on stderr."""

    def _xla_gc_callback() -> None:
        signal.raise_signal(signal.SIGTERM)

    outside = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with pytest.raises(SystemExit) as end, Output(io.BytesIO()).handling_signals() as output:
        _xla_gc_callback()
        output.raise_if_stopped()
    assert end.value.code == 143
    signal.signal(signal.SIGTERM, outside)


@pytest.mark.parametrize("command", ["translate", "evaluate", "score"])
@pytest.mark.fault("X14")
def test_a_signal_while_programs_are_compiled_ends_it_quietly(model_dir: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "in").write_text("A dog sleeps.\n" * 40)
    files = {
        "translate": ["-i", "in", "-o", "out"],
        "evaluate": ["--source", "in", "--reference", "in"],
        "score": ["--source", "in", "--target", "in", "-o", "out"],
    }[command]
    words = [sys.executable, "-c", COMPILING, command, "--model", str(model_dir), *files]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (143, b"", b"")
    assert os.listdir(tmp_path) == ["in"]


COMPILING = """
import os, signal, sys, threading
from jax._src import compiler
from transformer.cli.main import exit_process, main
from transformer.translation.translator import Translator
compiled, load = compiler.backend_compile_and_load, Translator.load
def signalled(*words, **options):
    compiler.backend_compile_and_load = compiled  # one signal: a second one would end the process at once
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    return compiled(*words, **options)
def loaded(path):
    translator = load(path)
    compiler.backend_compile_and_load = signalled
    return translator
Translator.load = staticmethod(loaded)
exit_process(main(sys.argv[1:]))
"""


@pytest.mark.fault("X13")
def test_nothing_is_lost_without_a_buffer(model_dir: Path, translate: Command, tmp_path: Path) -> None:
    """PYTHONUNBUFFERED, and a disk that takes a part of what is written."""
    lines = b"A dog sleeps.\n" * 300
    (tmp_path / "in").write_bytes(lines)
    whole = translate(lines).out
    size = len(whole) // 2
    words = [str(size), "translate", "--model", str(model_dir), "--quiet", "--beam-size", "1", "-i", "in"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    environment["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # its files would be cut too
    with open(tmp_path / "out", "wb") as out:
        run = subprocess.run(
            [sys.executable, "-c", LITTLE_ROOM, *words],
            cwd=tmp_path, env=environment, stdout=out, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert (run.returncode, run.stderr) == (4, FULL.format("File too large").encode())
    assert (tmp_path / "out").read_bytes() == whole[:size]


LITTLE_ROOM = """
import resource, sys
from transformer.cli.main import exit_process, main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
exit_process(main(sys.argv[2:]))
"""


@pytest.mark.fault("X14")
def test_the_exit_code_does_not_depend_on_who_reads_stderr(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, str(ROOT / "translate.py"), "--model", str(tmp_path)]
    assert subprocess.run(words, stderr=writer, check=False).returncode == 2
    os.close(writer)
    with open("/dev/full", "wb") as full:
        assert subprocess.run(words, stderr=full, check=False).returncode == 2


@pytest.mark.parametrize("platform", ["cuda", "foo"])
def test_devices_that_are_not_there_are_told(model_dir: Path, platform: str) -> None:
    words = [sys.executable, str(ROOT / "translate.py"), "--model", str(model_dir)]
    environment = {**os.environ, "JAX_PLATFORMS": platform}
    run = subprocess.run(words, env=environment, input=b"A dog\n", capture_output=True, check=False)
    assert (run.returncode, run.stdout) == (4, b"")
    assert run.stderr.splitlines()[-1].startswith(f"error: JAX_PLATFORMS={platform}: JAX finds no such".encode())
    assert b"Traceback" not in run.stderr


@pytest.mark.fault("X14")
def test_a_signal_that_was_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Output(io.BytesIO()).handling_signals() as output:
            signal.raise_signal(signal.SIGINT)
            output.write(b"a\n")
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.fault("X15")
def test_a_killed_command_leaves_no_half_file(model_dir: Path, translate: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with process(model_dir, "-o", out, stdin=subprocess.PIPE, bufsize=0) as running:
        running.stdin.write(b"A dog sleeps.\n")
        unfinished = tmp_path / "out.unfinished"
        while not (unfinished.exists() and unfinished.stat().st_size):
            time.sleep(0.02)
        running.kill()
    assert not out.exists()
    assert translate(b"A dog sleeps.\n", "-o", out).code == 0
    assert os.listdir(tmp_path) == ["out"] and out.read_bytes().count(b"\n") == 1
    assert "the output and an input" in translate(b"", "-i", out, "-o", out).err
    assert translate(b"", "-i", out, "-o", out).code == 2


@pytest.mark.fault("X15")
def test_the_disk_has_the_file_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(os.fstat(descriptor).st_size))
    replaced = os.replace
    monkeypatch.setattr(os, "replace", lambda one, two: (done.append("name"), replaced(one, two)))
    with open_output(str(tmp_path / "out")) as output:
        output.write(b"line\n")
    assert done == [5, "name"]


@pytest.mark.fault("X16")
def test_half_a_line_keeps_nobody_waiting() -> None:
    descriptor, writer = os.pipe()
    with open(descriptor, "rb") as stream, open(writer, "wb", buffering=0) as pipe:
        read_windows = windows_of(Input(stream, patience=0.3), 10)
        pipe.write(b"A dog\n")
        threading.Timer(0.05, lambda: pipe.write(b"A c")).start()
        threading.Timer(2, lambda: pipe.write(b"at\n")).start()
        began = time.monotonic()
        assert next(read_windows) == ["A dog"]
        assert time.monotonic() - began < 1.5
        assert next(read_windows) == ["A cat"]


@pytest.mark.fault("X16")
def test_a_terminal_gets_its_answers_line_by_line() -> None:
    master, slave = os.openpty()
    with open(slave, "rb") as stream, open(master, "wb", buffering=0) as typed:
        read_windows = windows_of(Input(stream, patience=0.001), 10)
        for line in ("A dog", "", "A cat"):
            typed.write(f"{line}\n".encode())
            assert next(read_windows) == [line]
        typed.write(b"no LF\x04\x04")  # Ctrl-D
        assert list(read_windows) == [["no LF"]]
