"""Runs a command, and turns its failures into exit codes."""

import contextlib
import errno
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from keyword import iskeyword
from typing import NoReturn, TextIO, cast

from transformer.cli.output import Stopped
from transformer.errors import DISK_FULL, ExpectedError, cannot_write, nearest
from transformer.version import PACKAGE, package_version

COMMANDS = {
    "train": "train a model, or resume a training",
    "translate": "translate lines",
    "evaluate": "BLEU, chrF and TER of translations",
    "score": "log-probabilities of given translations",
    "prepare": "check the corpora of a config and train its tokenizer, without training a model",
    "corpus": "write a corpus of any format as two text files",
    "average": "average the weights of several checkpoints of a run",
    "convert": "write a model with its weights in another precision",
    "export": "write a model for another program: CTranslate2, Hugging Face",
    "import": "read a model of another program: Marian of Hugging Face, OPUS-MT",
}

SMALLER = {"train": "; lower train.batch_tokens", "translate": "; lower --batch-tokens"}
ENVIRONMENT_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO,
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
)  # fmt: skip


def main(words: Sequence[str]) -> int:
    """Runs `COMMAND ...` and returns its exit code."""
    if words and words[0] == "--version":
        print(f"{PACKAGE} {package_version()}")
        return 0
    if not words or words[0] in ("-h", "--help"):
        print("usage: transformer COMMAND ...   (COMMAND --help lists its arguments; --version)\n")
        print("\n".join(f"  {name:<10} {meaning}" for name, meaning in COMMANDS.items()))
        return 0 if words else 2
    name, *rest = words
    if name not in COMMANDS:
        print(f"error: {name}: no such command{nearest(name, COMMANDS)}", file=sys.stderr)
        return 2
    return run(name, rest)


def run(name: str, words: Sequence[str]) -> int:
    """Runs one command, and returns its exit code. Prints an expected error as one line; raises any other exception."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    logging.getLogger("transformer").setLevel(logging.INFO)
    try:
        importlib.import_module(f"transformer.commands.{name}{'_' * iskeyword(name)}").main(words)
        if sys.stdout is not None:
            sys.stdout.flush()
        return 0
    except ExpectedError as failure:
        _report(str(failure))
        return failure.exit_code
    except BrokenPipeError:  # the program that reads the output has ended, which is not a failure
        _discard_buffer(sys.stdout)
        return 141
    except Stopped as stop:
        return cast(int, stop.code)
    except KeyboardInterrupt:
        return 130
    except OSError as problem:
        if problem.errno not in ENVIRONMENT_ERRORS:
            raise
        _discard_buffer(sys.stdout)
        place = problem.filename or "the output"
        is_full = problem.errno in DISK_FULL
        _report(str(cannot_write(place, problem)) if is_full else f"{place}: {problem.strerror}")
        return 4
    except (MemoryError, RuntimeError, AssertionError, ValueError) as problem:
        if not (message := _explain(problem, name)):
            raise
        _report(message)
        return 4


def exit_process(code: int) -> NoReturn:
    """Ends the process. After a signal, skips the shutdown of Python, which may crash while XLA compiles."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            _discard_buffer(stream)
    if code in (75, 130, 143):
        os._exit(code)
    sys.exit(code)


def entry_point() -> NoReturn:
    """Runs the console command `transformer`."""
    exit_process(main(sys.argv[1:]))


def _explain(problem: Exception, command: str) -> str:
    """Returns the message for an error of the environment (memory, devices, a variable JAX_*), or "" for others."""
    if isinstance(problem, MemoryError) or "RESOURCE_EXHAUSTED" in str(problem):  # the error of JAX
        return "out of memory" + SMALLER.get(command, "")
    if _has_no_device():
        asked = os.environ.get("JAX_PLATFORMS", "")
        return f"JAX_PLATFORMS={asked}: JAX finds no such device; unset it, or install what JAX needs for the device"
    for name, value in os.environ.items():  # JAX checks these values when it is imported
        if name.startswith("JAX_") and name.lower() in str(problem).lower() and value in str(problem):
            return f"{name}={value}: {problem}; correct the variable or unset it"
    return ""


def _has_no_device() -> bool:
    """Whether JAX finds no device. JAX raises errors of several classes in that case, one of them without a message."""
    try:
        sys.modules["jax"].devices()
    except (RuntimeError, AssertionError):
        return True
    except KeyError:  # JAX is not used
        pass
    return False


def _report(failure: str) -> None:
    if sys.stderr is not None:  # None if it is closed: `print` would write to stdout
        with contextlib.suppress(OSError):  # stderr cannot be written; the exit code still reports the failure
            print(f"error: {failure}", file=sys.stderr)


def _discard_buffer(stream: TextIO | None) -> None:
    """Redirects a stream to the null device, so that Python does not write the rest of its buffer when Python ends."""
    if stream is None:
        return
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
