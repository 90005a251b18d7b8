"""The expected failures and their exit codes.

Whatever a user can cause is one of these: the command line prints its text as one line on stderr and leaves with its
code. Anything else is a bug of ours and keeps its traceback (exit code 1).
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ExpectedError(Exception):
    """A failure that is not a bug. Its text is one line: what, where, and how to mend it."""

    exit_code = 1


class UsageError(ExpectedError):
    """Wrong usage, config or model."""

    exit_code = 2


class DataError(ExpectedError):
    """A corpus or an input that cannot be used as it is."""

    exit_code = 3


class SystemProblem(ExpectedError):
    """The environment: disk full, file not writable, out of memory."""

    exit_code = 4


class Diverged(ExpectedError):
    """The training produced numbers that are not finite, many times in a row."""

    exit_code = 5


class Preempted(ExpectedError):
    """Stopped by SIGTERM after saving: the same command continues."""

    exit_code = 75


class Interrupted(Preempted):
    """Stopped by Ctrl-C after saving: the same command continues."""

    exit_code = 130


@contextmanager
def room_for(place: Path | str) -> Iterator[None]:
    """Raises SystemProblem where a disk is full: the system does not say what it had no room for."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise SystemProblem(
            f"{place}: cannot be written: {problem.strerror}; make room, and run the same command again"
        ) from problem
