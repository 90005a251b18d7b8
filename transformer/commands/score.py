"""score: how probable a model finds given translations."""

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from transformer.commands.arguments import Parser
from transformer.commands.files import json_line, open_output, refuse_overwriting
from transformer.data.corpus import open_pairs

if TYPE_CHECKING:
    from transformer.scoring import Scored

PAIRS = 2048  # scored together


def main(words: Sequence[str]) -> None:
    parser = Parser(
        "score",
        "Print one number a line: the natural logarithm of the probability of the target given the source, end of"
        " sentence included.",
    )
    parser.add_argument("--model", required=True, metavar="DIR", help="a run directory or a model directory")
    parser.add_argument("--source", required=True, metavar="FILE", help="sources, a line each")
    parser.add_argument("--target", required=True, metavar="FILE", help="their translations, line for line")
    parser.add_argument("-o", "--output", default="-", metavar="FILE", help="the numbers (default: stdout)")
    parser.add_argument(
        "--format",
        choices=("text", "jsonl"),
        default="text",
        help="jsonl: an object a line with line, score, tokens and token_scores (default: text)",
    )
    arguments = parser.parse(words)
    refuse_overwriting(arguments.output, arguments.source, arguments.target)
    pairs = open_pairs(arguments.source, arguments.target)
    from transformer.commands.devices import start_jax
    from transformer.scoring import score
    from transformer.translator import Translator

    start_jax()
    translator = Translator.load(arguments.model)
    number, remaining = 0, iter(pairs)
    with open_output(arguments.output) as output:
        while chunk := list(islice(remaining, PAIRS)):
            found = score(translator, chunk, first_line=number)
            shown = [show(scored, line, arguments.format) for line, scored in enumerate(found, number + 1)]
            output.write("".join(shown).encode())
            output.flush()
            number += len(chunk)


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
