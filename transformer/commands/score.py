"""score: the log-probabilities of given translations."""

import os
from collections.abc import Iterable, Sequence
from itertools import islice, zip_longest
from typing import TYPE_CHECKING

from transformer.cli.arguments import Parser, path
from transformer.cli.input import json_line, open_input
from transformer.cli.output import open_output, refuse_overwriting
from transformer.data.corpus import Pair
from transformer.data.formats.prefix import check_line_counts, open_pairs
from transformer.data.formats.text import decode
from transformer.data.lines import read_lines
from transformer.errors import UsageError

if TYPE_CHECKING:
    from transformer.translation.scoring import Scored

PAIRS = 2048  # number of pairs that are scored together


def main(words: Sequence[str]) -> None:
    parser = Parser(
        "score",
        "Print one number per line: the natural logarithm of the probability of the target given the source, end of"
        " sentence included.",
    )
    parser.add_argument("--model", required=True, type=path, metavar="DIR", help="a run directory or a model directory")
    parser.add_argument("--source", required=True, type=path, metavar="FILE", help="sources, one per line (-: stdin)")
    parser.add_argument(
        "--target", required=True, type=path, metavar="FILE", help="their translations, line by line (-: stdin)"
    )
    parser.add_argument("-o", "--output", default="-", type=path, metavar="FILE", help="the numbers (default: stdout)")
    parser.add_argument(
        "--format",
        choices=("text", "jsonl"),
        default="text",
        help="jsonl: one object per line with line, score, tokens and token_scores (default: text)",
    )
    arguments = parser.parse(words)
    if arguments.source == arguments.target == "-":
        raise UsageError("--source - and --target -: only one of them can be stdin")
    refuse_overwriting(arguments.output, arguments.source, arguments.target, model=arguments.model)
    pairs = _pairs(arguments.source, arguments.target)
    from transformer.cli.jax_setup import configure_jax
    from transformer.translation.scoring import score
    from transformer.translation.translator import Translator

    configure_jax()
    translator = Translator.load(arguments.model)
    number, remaining = 0, iter(pairs)
    with open_output(arguments.output) as output:
        while chunk := list(islice(remaining, PAIRS)):
            output.raise_if_stopped()
            results = score(translator, chunk, first_line=number)
            lines = [format_score(result, line, arguments.format) for line, result in enumerate(results, number + 1)]
            output.write("".join(lines).encode())
            output.flush()
            number += len(chunk)


def _pairs(source: str, target: str) -> Iterable[Pair]:
    """Returns the pairs. Raises DataError, before any pair is scored, if the numbers of lines differ.

    For this check, two files are read twice. If one side is a stream, all lines are kept in memory.
    """
    if os.path.isfile(source) and os.path.isfile(target):
        return open_pairs(source, target)
    with open_input(source) as sources, open_input(target) as targets:
        rows = list(zip_longest(read_lines(sources), read_lines(targets)))  # in turn: one program may write both
    counts = [sum(side is not None for side in sides) for sides in zip(*rows, strict=True)] or [0, 0]
    check_line_counts(source, counts[0], target, counts[1])
    return [Pair(*map(decode, row)) for row in rows]


def format_score(scored: "Scored", number: int, output_format: str) -> str:
    """Formats a score as a line of output. `number` is the number of the pair, counted from 1."""
    if output_format == "text":
        return f"{scored.log_probability:.6f}\n"
    return json_line(
        {
            "line": number,
            "score": scored.log_probability,
            "tokens": scored.tokens,
            "token_scores": scored.token_log_probabilities,
        }
    )
