"""score: how probable a model finds given translations."""

import os
from collections.abc import Iterable, Sequence
from itertools import islice, zip_longest
from typing import TYPE_CHECKING

from transformer.commands.arguments import Parser, path
from transformer.commands.files import json_line, open_input
from transformer.commands.output import open_output, refuse_overwriting
from transformer.data.corpus import Pair, open_pairs
from transformer.data.lines import read_lines
from transformer.errors import DataError, UsageError

if TYPE_CHECKING:
    from transformer.scoring import Scored

PAIRS = 2048  # scored together


def main(words: Sequence[str]) -> None:
    parser = Parser(
        "score",
        "Print one number a line: the natural logarithm of the probability of the target given the source, end of"
        " sentence included.",
    )
    parser.add_argument("--model", required=True, type=path, metavar="DIR", help="a run directory or a model directory")
    parser.add_argument("--source", required=True, type=path, metavar="FILE", help="sources, a line each (-: stdin)")
    parser.add_argument(
        "--target", required=True, type=path, metavar="FILE", help="their translations, line for line (-: stdin)"
    )
    parser.add_argument("-o", "--output", default="-", type=path, metavar="FILE", help="the numbers (default: stdout)")
    parser.add_argument(
        "--format",
        choices=("text", "jsonl"),
        default="text",
        help="jsonl: an object a line with line, score, tokens and token_scores (default: text)",
    )
    arguments = parser.parse(words)
    if arguments.source == arguments.target == "-":
        raise UsageError("--source - and --target -: only one of them can be stdin")
    refuse_overwriting(arguments.output, arguments.source, arguments.target, model=arguments.model)
    pairs = _pairs(arguments.source, arguments.target)
    from transformer.commands.devices import start_jax
    from transformer.scoring import score
    from transformer.translator import Translator

    start_jax()
    translator = Translator.load(arguments.model)
    number, remaining = 0, iter(pairs)
    with open_output(arguments.output) as output:
        while chunk := list(islice(remaining, PAIRS)):
            output.obey()
            found = score(translator, chunk, first_line=number)
            shown = [show(scored, line, arguments.format) for line, scored in enumerate(found, number + 1)]
            output.write("".join(shown).encode())
            output.flush()
            number += len(chunk)


def _pairs(source: str, target: str) -> Iterable[Pair]:
    """Raises DataError for unequal counts of lines: so files are read twice, and what can be read but once is held."""
    if os.path.isfile(source) and os.path.isfile(target):
        return open_pairs(source, target)
    with open_input(source) as sources, open_input(target) as targets:
        rows = list(zip_longest(read_lines(sources), read_lines(targets)))  # in step: one program may write both
    counts = [sum(side is not None for side in sides) for sides in zip(*rows, strict=True)] or [0, 0]
    if counts[0] != counts[1]:
        raise DataError(
            f"{source} has {counts[0]} lines, {target} has {counts[1]}: they must have line for line the same"
        )
    return [Pair(*(side.decode("utf-8", "surrogateescape") for side in row)) for row in rows]


def show(scored: "Scored", number: int, form: str) -> str:
    """A score as a line of a format. `number` is that of its pair, from 1."""
    if form == "text":
        return f"{scored.log_probability:.6f}\n"
    return json_line(
        {
            "line": number,
            "score": scored.log_probability,
            "tokens": scored.tokens,
            "token_scores": scored.token_log_probabilities,
        }
    )
