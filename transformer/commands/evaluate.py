"""evaluate: BLEU, chrF and TER with sacreBLEU's signatures."""

import json
from argparse import Namespace
from collections.abc import Sequence

from transformer.commands.arguments import Parser, path
from transformer.commands.files import read_text
from transformer.commands.output import Output, open_output
from transformer.errors import DataError, UsageError


def main(words: Sequence[str]) -> None:
    parser = Parser("evaluate", "Score translations against references, as sacreBLEU does.")
    parser.add_argument("--model", type=path, metavar="DIR", help="translate --source with this model, and score that")
    parser.add_argument("--source", type=path, metavar="FILE", help="what the model translates")
    parser.add_argument("--hypothesis", type=path, metavar="FILE", help="translations, instead of a model")
    parser.add_argument(
        "--reference", required=True, type=path, metavar="FILE", help="what they should be, line for line"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="(default: text)")
    parser.add_argument("--lowercase", action="store_true", help="BLEU without regard to case")
    parser.add_argument(
        "--tokenize",
        choices=("13a", "none", "zh", "intl", "char"),
        default="13a",
        help="sacreBLEU's tokenizer for BLEU; none: the lines are tokenized (default: 13a)",
    )
    parser.add_argument("--beam-size", type=int, metavar="K", help="of the model's search (default: the model's)")
    arguments = parser.parse(words)
    if (arguments.model is None) == (arguments.hypothesis is None):
        raise UsageError("evaluate: give either --model DIR with --source FILE, or --hypothesis FILE")
    if arguments.model is not None and arguments.source is None:
        raise UsageError("evaluate: --model needs --source FILE to translate")
    if arguments.hypothesis is not None and (arguments.source is not None or arguments.beam_size is not None):
        raise UsageError("evaluate: --source and --beam-size go with --model, not with --hypothesis")
    if arguments.beam_size is not None and arguments.beam_size < 1:
        raise UsageError(f"--beam-size {arguments.beam_size}: must be at least 1")
    with open_output("-") as output:
        output.write(_report(*_read(arguments, output), arguments).encode())


def _read(arguments: Namespace, output: Output) -> tuple[list[str], list[str]]:
    """Hypotheses and references. Raises DataError where they are not line for line the same."""
    references = read_text(arguments.reference)
    named = arguments.source if arguments.hypothesis is None else arguments.hypothesis
    lines = read_text(named)
    _same_count(named, lines, arguments.reference, references)
    if arguments.hypothesis is None:
        lines = _translate(arguments.model, lines, arguments.beam_size, output)
    return lines, references


def _report(hypotheses: Sequence[str], references: Sequence[str], arguments: Namespace) -> str:
    from transformer.evaluation import bleu, chrf, ter

    scores = [
        bleu(hypotheses, references, lowercase=arguments.lowercase, tokenize=arguments.tokenize),
        chrf(hypotheses, references),
        ter(hypotheses, references),
    ]
    if arguments.format == "json":
        found = {score.name: {"score": score.value, "signature": score.signature} for score in scores}
        return json.dumps(found) + "\n"
    values = [f"{score.name} {score.value:.1f}\n" for score in scores]
    return "".join(values + [f"{score.name} signature: {score.signature}\n" for score in scores])


def _same_count(name: str, lines: Sequence[str], reference: str, references: Sequence[str]) -> None:
    if len(lines) != len(references):
        raise DataError(
            f"{name} has {len(lines)} lines, {reference} has {len(references)}: they must have line for line the same"
        )


def _translate(model: str, sources: Sequence[str], beam_size: int | None, output: Output) -> list[str]:
    from transformer.commands.devices import start_jax
    from transformer.translator import Translator

    start_jax()
    hypotheses = []
    for found in Translator.load(model).translate(sources, beam_size=beam_size):
        output.obey()
        hypotheses.append(found.text)
    return hypotheses
