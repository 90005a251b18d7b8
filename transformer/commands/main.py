"""From the words of the command line to a command, and from its failure to an exit code."""

import contextlib
import errno
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from keyword import iskeyword
from typing import NoReturn, TextIO, cast

from transformer.commands.output import Stopped
from transformer.config_file import nearest
from transformer.errors import ExpectedError

COMMANDS = {
    "train": "train a model, or go on training it",
    "translate": "translate lines",
    "evaluate": "BLEU, chrF and TER of translations",
    "score": "log-probabilities of given translations",
    "prepare": "look at the corpora of a config and make its tokenizer, without training",
    "corpus": "write a corpus of any kind as two plain files",
    "average": "one model of several checkpoints of a run",
    "convert": "the same model with its weights in another precision",
    "export": "a model as another program's: CTranslate2, Hugging Face",
    "import": "another program's model as one of ours: Hugging Face's Marian, OPUS-MT",
}

OF_THE_ENVIRONMENT = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO,
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
)  # fmt: skip


def main(words: Sequence[str]) -> int:
    """Runs `COMMAND ...` and returns its exit code."""
    if not words or words[0] in ("-h", "--help"):
        print("usage: python -m transformer COMMAND ...   (COMMAND --help tells more)\n")
        print("\n".join(f"  {name:<10} {meaning}" for name, meaning in COMMANDS.items()))
        return 0 if words else 2
    name, *rest = words
    if name not in COMMANDS:
        print(f"error: {name}: no such command{nearest(name, COMMANDS)}", file=sys.stderr)
        return 2
    return run(name, rest)


def run(name: str, words: Sequence[str]) -> int:
    """Runs one command. What is expected to fail is told in one line; a bug of ours keeps its traceback."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    logging.getLogger("transformer").setLevel(logging.INFO)
    try:
        importlib.import_module(f"transformer.commands.{name}{'_' * iskeyword(name)}").main(words)
        if sys.stdout is not None:
            sys.stdout.flush()
        return 0
    except ExpectedError as failure:
        _tell(str(failure))
        return failure.exit_code
    except BrokenPipeError:  # the reader has had enough: no failure of ours
        _let_go_of(sys.stdout)
        return 141
    except Stopped as stop:
        return cast(int, stop.code)
    except KeyboardInterrupt:
        return 130
    except OSError as problem:
        if problem.errno not in OF_THE_ENVIRONMENT:
            raise
        _let_go_of(sys.stdout)
        _tell(f"cannot write {problem.filename or 'the output'}: {problem.strerror}")
        return 4
    except (MemoryError, RuntimeError, AssertionError, ValueError) as problem:
        if not (told := _of_the_machine(problem)):
            raise
        _tell(told)
        return 4


def leave(code: int) -> NoReturn:
    """Ends the process, and at once after a signal: Python's own end crashes while XLA compiles."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            _let_go_of(stream)
    if code in (75, 130, 143):
        os._exit(code)
    sys.exit(code)


def _of_the_machine(problem: Exception) -> str:
    """What is told where the machine has too little memory or not the devices that were asked for; else nothing."""
    if isinstance(problem, MemoryError) or "RESOURCE_EXHAUSTED" in str(problem):  # JAX's
        return "out of memory; lower train.batch_tokens, or --batch-tokens of translate"
    if _no_device():
        asked = os.environ.get("JAX_PLATFORMS", "")
        return f"JAX_PLATFORMS={asked}: JAX finds no such device here; unset it, or install what JAX needs for it"
    for name, value in os.environ.items():  # JAX refuses a value when it is imported
        if name.startswith("JAX_") and name.lower() in str(problem).lower() and value in str(problem):
            return f"{name}={value}: {problem}; correct the variable or unset it"
    return ""


def _no_device() -> bool:
    """JAX says so in errors of several kinds, one of them without a word."""
    try:
        sys.modules["jax"].devices()
    except (RuntimeError, AssertionError):
        return True
    except KeyError:  # not in use
        pass
    return False


def _tell(failure: str) -> None:
    if sys.stderr is not None:  # closed, and `print` would take stdout
        with contextlib.suppress(OSError):  # nobody reads it, and the exit code still tells
            print(f"error: {failure}", file=sys.stderr)


def _let_go_of(stream: TextIO | None) -> None:
    """Keeps Python from trying to write what is left when it ends."""
    if stream is None:
        return
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
