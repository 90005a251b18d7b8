"""Outputs of whole lines, in files that are whole or not there."""

import errno
import fcntl
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from transformer.errors import SystemProblem, UsageError, room_for


class Stopped(SystemExit):
    """A signal has asked to stop; what was written before is whole lines."""


class Output:
    """A stream of whole lines: a signal to stop that comes while they are written is obeyed after them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._writing, self._asked = False, 0

    def write(self, lines: bytes) -> None:
        """All of them, whatever the stream takes at a time. Raises Stopped after them if a signal has asked to stop."""
        with self._undisturbed():
            rest = memoryview(lines)
            while rest:
                try:
                    count = self._stream.write(rest)
                except BlockingIOError as full:
                    count = full.characters_written
                    self._wait()
                else:
                    if count is None:  # a raw stream that is full
                        self._wait()
                rest = rest[count or 0 :]

    def flush(self) -> None:
        with self._undisturbed():
            while True:
                try:
                    return self._stream.flush()
                except BlockingIOError:
                    self._wait()

    def obey(self) -> None:
        """Raises Stopped if a signal has asked to stop and nothing could be raised then."""
        if self._asked:
            raise Stopped(128 + self._asked)

    def _wait(self) -> None:
        """Until there is room in a pipe or a terminal that does not wait by itself."""
        select.select([], [self._stream.fileno()], [])

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        self._writing = True
        try:
            yield
        finally:
            self._writing = False
        self.obey()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """The handler of such a signal. The next one ends the process at once."""
        self._asked = number
        if frame is not None and frame.f_code.co_name == "_xla_gc_callback":  # what is raised there is lost
            return
        signal.signal(number, signal.SIG_DFL)
        if not self._writing:
            self.obey()

    @contextmanager
    def heeding_signals(self) -> Iterator["Output"]:
        """SIGTERM and Ctrl-C stop the work between two writes, with the exit codes 143 and 130."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        heeded = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
        try:
            for number in heeded:
                signal.signal(number, self.stop)
            yield self
        finally:
            for number in heeded:
                signal.signal(number, before[number])


@contextmanager
def open_output(path: str) -> Iterator[Output]:
    """A file, or stdout for `-`. A file is put in its place when it is whole; after a failure nothing has changed."""
    if path == "-":
        if sys.stdout is None:
            raise SystemProblem("stdout is closed; give it a place, or name a file for the output")
        _leave_with_the_reader()
        with Output(sys.stdout.buffer).heeding_signals() as output:
            try:
                yield output
            finally:
                output.flush()
        return
    if Path(path).is_dir():
        raise UsageError(f"{path}: is a directory; name a file for the output")
    if Path(path).exists() and not Path(path).is_file():  # /dev/null, a named pipe: not to be replaced by a file
        with _saying(path):
            descriptor = os.open(path, os.O_WRONLY)
        with open(descriptor, "wb") as stream, Output(stream).heeding_signals() as output:
            yield output
        return
    place = Path(os.path.realpath(path))  # a link stays one
    unfinished = unfinished_of(path)
    with _saying(path):
        descriptor = _hold(unfinished, path)
        if place.exists():
            os.fchmod(descriptor, stat.S_IMODE(place.stat().st_mode))
    with room_for(path), open(descriptor, "wb") as stream:
        try:
            with Output(stream).heeding_signals() as output:
                yield output
                output.flush()
                os.fsync(descriptor)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        _put(unfinished, place)


def unfinished_of(path: str) -> Path:
    """Where an output is until it is whole."""
    return Path(f"{os.path.realpath(path)}.unfinished")


@contextmanager
def _saying(path: str) -> Iterator[None]:
    """Raises SystemProblem where the output cannot be opened, whatever the system's reason."""
    try:
        yield
    except OSError as problem:
        raise SystemProblem(f"{path}: cannot be written: {problem.strerror}") from None


def _hold(unfinished: Path, path: str) -> int:
    """The descriptor of an empty file that no other command writes to. Raises UsageError where one does."""
    while True:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):  # its holder has finished since it was opened
                if os.path.samestat(os.fstat(descriptor), os.stat(unfinished)):
                    os.ftruncate(descriptor, 0)
                    return descriptor
        except OSError as problem:
            os.close(descriptor)
            if problem.errno != errno.EWOULDBLOCK:
                raise
            raise UsageError(
                f"{path}: another command is writing it; wait for its end, or name another file for the output"
            ) from None
        os.close(descriptor)


def _put(unfinished: Path, place: Path) -> None:
    """Gives a whole file its name. Where that fails, the file is kept."""
    try:
        os.replace(unfinished, place)
    except OSError as problem:
        kept = f"; the whole output is in {unfinished}" if unfinished.exists() else ""
        raise SystemProblem(f"{place}: cannot be replaced: {problem.strerror}{kept}") from None


def _leave_with_the_reader() -> None:
    """Ends the process when the reader of a pipe goes, and not only when the batch at hand is translated."""
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # in memory
        return
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return
    watch = select.poll()
    watch.register(descriptor, 0)  # for errors alone

    def wait() -> None:
        watch.poll()
        os._exit(141)

    threading.Thread(target=wait, daemon=True).start()


def refuse_overwriting(output: str, *inputs: str, model: str | None = None) -> None:
    """Raises UsageError where the output would take the place of what is read, or stand among a model's files."""
    outputs = [sys.stdout] if output == "-" else [output, unfinished_of(output)]
    named = {"-": "stdout"}.get(output, output)
    for path in inputs:
        if any(_same_file(sys.stdin if path == "-" else path, place) for place in outputs):
            raise UsageError(f"{named}: is the output and an input too; name another file for the output")
    if model is not None and output != "-":
        folder = unfinished_of(output).parent  # a run directory has room for others' files, but not its parts
        if folder.is_relative_to(os.path.realpath(model)) and (folder / "manifest.json").exists():
            raise UsageError(f"{output}: is among the files of the model; name a file elsewhere for the output")


def _same_file(one: Any, other: Any) -> bool:
    try:
        found = [os.stat(x.fileno() if hasattr(x, "fileno") else x) for x in (one, other)]
    except (OSError, TypeError):  # not there, in memory, closed
        return False
    return stat.S_ISREG(found[0].st_mode) and os.path.samestat(*found)
