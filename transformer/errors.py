"""The expected failures and their exit codes.

A failure that a user can cause is raised as one of these classes. The command line prints the message of the error as
one line on stderr, and exits with the code of the class. cli/main.py handles errors of the operating system in the same
way. Any other exception is a bug in this package, and keeps its traceback (exit code 1).
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
    """A failure that is not a bug. Its message is one line that states what is wrong, where, and how to fix it."""

    exit_code = 1


class UsageError(ExpectedError):
    """The command line, the config or the model is wrong."""

    exit_code = 2


class DataError(ExpectedError):
    """A corpus or an input that cannot be used as it is."""

    exit_code = 3


class ResourceError(ExpectedError):
    """The environment prevents the work: the disk is full, a file is not writable, or there is too little memory."""

    exit_code = 4


class DivergenceError(ExpectedError):
    """The training diverged: a weight is NaN or infinite, or the loss or gradient was, in many consecutive updates."""

    exit_code = 5


class Preempted(ExpectedError):
    """SIGTERM stopped the training, after its updates were saved. The same command resumes it."""

    exit_code = 75


class Interrupted(Preempted):
    """Ctrl-C stopped the training, after its updates were saved. The same command resumes it."""

    exit_code = 130


@contextmanager
def reporting_full_disk(place: Path | str) -> Iterator[None]:
    """Raises ResourceError, which names `place`, if the disk is full. The error of the system does not name a file."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in DISK_FULL:
            raise
        raise cannot_write(place, problem) from problem


def cannot_write(what: Path | str, problem: Exception) -> ResourceError:
    """Returns the error for a failed write, with the reason that `problem` gives."""
    reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else problem
    is_full = getattr(problem, "errno", errno.ENOSPC) in DISK_FULL
    remedy = "free some space" if is_full else "check that it can be written"
    return ResourceError(f"{what}: cannot be written: {reason}; {remedy}, and run the same command again")


def one_line(text: str) -> str:
    """Returns the text with each line break and NUL replaced by a space, and each lone surrogate by U+FFFD."""
    if text.isprintable():  # the common and fast case: printable text contains nothing to replace
        return text
    return _SURROGATE.sub("\ufffd", _LINE_BREAK.sub(" ", text))


def nearest(word: str, words: Iterable[str]) -> str:
    """Returns `; did you mean X?`, where X is the most similar of the words, or "" if none is similar."""
    match = difflib.get_close_matches(word, list(words), 1, cutoff=0.5)
    return f"; did you mean {match[0]}?" if match else ""
