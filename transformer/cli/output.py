"""Output streams, which write only complete lines, and output files, which are replaced only when complete."""

import errno
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from transformer.errors import ResourceError, UsageError, reporting_full_disk
from transformer.files.atomic import UNFINISHED
from transformer.files.manifest import enclosing
from transformer.run.signals import STOP_SIGNALS, StopRequest, handling


class Stopped(SystemExit):
    """A signal has stopped the command. The output so far ends with a complete line."""


class Output:
    """A stream of complete lines. If a signal arrives during a write, the process stops when the write is complete."""

    def __init__(self, stream: BinaryIO) -> None:
        with suppress(OSError, AttributeError):  # a stream in memory; Windows before Python 3.12
            os.set_blocking(stream.fileno(), True)  # otherwise a write to a full pipe fails
        self._stream = stream
        self._stop = StopRequest(lambda number: Stopped(128 + number), interruptible=True)

    def write(self, lines: bytes) -> None:
        """Writes all lines, even if the stream accepts only some bytes at a time. Raises Stopped after a signal."""
        with self._stop.interruptible(False):
            rest = memoryview(lines)
            while rest:
                rest = rest[self._stream.write(rest) :]
        self.raise_if_stopped()

    def flush(self) -> None:
        with self._stop.interruptible(False):
            self._stream.flush()
        self.raise_if_stopped()

    def raise_if_stopped(self) -> None:
        """Raises Stopped if a signal arrived during a write."""
        self._stop.raise_if_requested()

    @contextmanager
    def handling_signals(self) -> Iterator["Output"]:
        """In the `with` block, SIGTERM and Ctrl-C raise Stopped (exit code 143 or 130), but never during a write."""
        with handling(self._stop, [each for each in STOP_SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]):
            yield self


@contextmanager
def open_output(path: str) -> Iterator[Output]:
    """Opens a file for writing, or stdout for `-`.

    A regular file is written under a temporary name, and renamed to `path` when it is complete. After a failure, `path`
    is unchanged. Raises UsageError if `path` is a directory or if another command is writing it, and ResourceError if
    it cannot be written.
    """
    if path == "-":
        if sys.stdout is None:
            raise ResourceError("stdout is closed; open it, or name a file for the output")
        _exit_with_reader()
        with Output(sys.stdout.buffer).handling_signals() as output:
            try:
                yield output
            finally:
                output.flush()
        return
    if Path(path).is_dir():
        raise UsageError(f"{path}: is a directory; name a file for the output")
    if Path(path).exists() and not Path(path).is_file():  # /dev/null or a named pipe, which must not be replaced
        with _reporting_failure(path):
            descriptor = os.open(path, os.O_WRONLY)
        with open(descriptor, "wb") as stream, Output(stream).handling_signals() as output:
            yield output
        return
    place = Path(os.path.realpath(path))  # so that a link is kept
    unfinished = unfinished_path(path)
    with _reporting_failure(path):
        descriptor = _open_locked(unfinished, path)
        if place.exists():
            os.chmod(unfinished, stat.S_IMODE(place.stat().st_mode))
    with reporting_full_disk(path), open(descriptor, "wb") as stream:
        try:
            with Output(stream).handling_signals() as output:
                yield output
                output.flush()
                os.fsync(descriptor)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        _rename(unfinished, place)


def unfinished_path(path: str) -> Path:
    """Returns the temporary path of an output file, which it has until it is complete."""
    return Path(os.path.realpath(path) + UNFINISHED)


@contextmanager
def _reporting_failure(path: str) -> Iterator[None]:
    """Raises ResourceError, with the reason that the system gives, if the output cannot be opened."""
    try:
        yield
    except OSError as problem:
        raise ResourceError(f"{path}: cannot be written: {problem.strerror}; name another file") from None


def _open_locked(unfinished: Path, path: str) -> int:
    """Opens an empty file, locks it, and returns its descriptor. Raises UsageError if another command has locked it."""
    try:
        import fcntl
    except ImportError:  # Windows, where an open file cannot be replaced anyway
        return os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    while True:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):  # another command has renamed the file since it was opened
                if os.path.samestat(os.fstat(descriptor), os.stat(unfinished)):
                    os.ftruncate(descriptor, 0)
                    return descriptor
        except OSError as problem:
            os.close(descriptor)
            if problem.errno != errno.EWOULDBLOCK:
                raise
            raise UsageError(
                f"{path}: another command is writing it; wait until it ends, or name another file for the output"
            ) from None
        os.close(descriptor)


def _rename(unfinished: Path, place: Path) -> None:
    """Renames a complete file to its final name. Raises ResourceError if that fails, and keeps the file."""
    try:
        os.replace(unfinished, place)
    except OSError as problem:
        kept = f"; the complete output is in {unfinished}" if unfinished.exists() else ""
        raise ResourceError(f"{place}: cannot be replaced: {problem.strerror}{kept}") from None


def _exit_with_reader() -> None:
    """Ends the process as soon as the program that reads its stdout through a pipe ends.

    Otherwise `translate | head -1` would first finish its window of up to 2,048 lines, which nobody reads.
    """
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # a stream in memory has no descriptor
        return
    if not (hasattr(select, "poll") and stat.S_ISFIFO(os.fstat(descriptor).st_mode)):
        return
    poll = select.poll()
    poll.register(descriptor, 0)  # reports only errors, such as a closed pipe

    def wait() -> None:
        poll.poll()
        os._exit(141)

    threading.Thread(target=wait, daemon=True).start()


def refuse_overwriting(output: str, *inputs: str, model: str | None = None) -> None:
    """Raises UsageError if the output would replace an input, or a file of the model."""
    outputs = [sys.stdout] if output == "-" else [output, unfinished_path(output)]
    named = {"-": "stdout"}.get(output, output)
    for path in inputs:
        if any(_same_file(sys.stdin if path == "-" else path, place) for place in outputs):
            raise UsageError(f"{named}: is both the output and an input; name another file for the output")
    if model is not None and output != "-":
        # The output may be in a run directory, but not in its model, a checkpoint or its prepared data.
        folder = enclosing(unfinished_path(output))
        if folder and folder.is_relative_to(os.path.realpath(model)):
            raise UsageError(
                f"{output}: is in {folder}, whose files belong to the model or its run; name a file elsewhere"
            )


def _same_file(one: Any, other: Any) -> bool:
    try:
        stats = [os.stat(x.fileno() if hasattr(x, "fileno") else x) for x in (one, other)]
    except (OSError, TypeError):  # a file is absent, or a stream is in memory or closed
        return False
    return stat.S_ISREG(stats[0].st_mode) and os.path.samestat(*stats)
