"""The expected failures and their exit codes.

A failure that a user can cause is raised as one of these: the command line prints its text as one line on stderr and
exits with its code. cli/main.py treats errors of the system in the same way. Any other exception is a bug in this
package, and keeps its traceback (exit code 1).
"""

import difflib
import errno
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_LINE_BREAK = re.compile("[\n\r\0\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class ExpectedError(Exception):
    """A failure that is not a bug. Its text is one line: what is wrong, where, and how to fix it."""

    exit_code = 1


class UsageError(ExpectedError):
    """Wrong usage, config or model."""

    exit_code = 2


class DataError(ExpectedError):
    """A corpus or an input that cannot be used as it is."""

    exit_code = 3


class ResourceError(ExpectedError):
    """The environment prevents the work: the disk is full, a file is not writable, or there is too little memory."""

    exit_code = 4


class DivergenceError(ExpectedError):
    """The training diverged: a weight is NaN or infinite, or the loss of many updates in a row."""

    exit_code = 5


class Preempted(ExpectedError):
    """Stopped by SIGTERM, after saving the updates that were made: the same command resumes."""

    exit_code = 75


class Interrupted(Preempted):
    """Stopped by Ctrl-C, after saving the updates that were made: the same command resumes."""

    exit_code = 130


@contextmanager
def reporting_full_disk(place: Path | str) -> Iterator[None]:
    """Raises ResourceError with the name of `place` if the disk is full: the system's own error names no file."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in DISK_FULL:
            raise
        raise cannot_write(place, problem) from problem


def cannot_write(what: Path | str, problem: Exception) -> ResourceError:
    """The error for a failed write, with the reason that the system gave."""
    reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else problem
    is_full = getattr(problem, "errno", errno.ENOSPC) in DISK_FULL
    remedy = "free some space" if is_full else "check that it can be written"
    return ResourceError(f"{what}: cannot be written: {reason}; {remedy}, and run the same command again")


def one_line(text: str) -> str:
    """Returns the text with a space for each line-breaking character and NUL, and U+FFFD for each lone surrogate."""
    if text.isprintable():  # fast, because most lines are, and no character that is replaced is printable
        return text
    return _SURROGATE.sub("\ufffd", _LINE_BREAK.sub(" ", text))


def nearest(word: str, words: Iterable[str]) -> str:
    """Returns `; did you mean X?`, or "" if no word is similar."""
    match = difflib.get_close_matches(word, list(words), 1, cutoff=0.5)
    return f"; did you mean {match[0]}?" if match else ""
