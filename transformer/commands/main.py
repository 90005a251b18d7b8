"""From the words of the command line to a command, and from its failure to an exit code."""

import contextlib
import errno
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from keyword import iskeyword

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
        _let_go_of_stdout()
        return 141
    except KeyboardInterrupt:
        return 130
    except OSError as problem:
        if problem.errno not in OF_THE_ENVIRONMENT:
            raise
        _let_go_of_stdout()
        _tell(f"cannot write {problem.filename or 'the output'}: {problem.strerror}")
        return 4
    except (MemoryError, RuntimeError) as problem:
        if isinstance(problem, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(problem):  # JAX's
            raise
        _tell("out of memory; lower train.batch_tokens, or --batch-tokens of translate")
        return 4


def _tell(failure: str) -> None:
    if sys.stderr is not None:  # closed, and `print` would take stdout
        print(f"error: {failure}", file=sys.stderr)


def _let_go_of_stdout() -> None:
    """Keeps Python from trying to write what is left when it ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
