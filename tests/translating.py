"""The command translate in this process, for tests: see the fixture `translate`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from transformer.data.clauses import clauses
from transformer.translation.translator import Translator

ROOT = Path(__file__).parents[1]
SENTENCES = [english for english, _ in clauses("test", 60) if len(english) < 30][:6]  # of few lengths
FULL = "error: the output: cannot be written: {}; free some space, and run the same command again\n"


class Result(NamedTuple):
    code: int
    out: bytes
    err: str


Command = Callable[..., Result]


def alone(translator: Translator, line: str) -> str:
    return next(translator.translate([line], beam_size=1)).text


def joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
