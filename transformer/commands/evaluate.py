"""evaluate: BLEU, chrF and TER of translations, with the signatures of sacreBLEU."""

import json
from argparse import Namespace
from collections.abc import Sequence

from transformer.cli.arguments import Parser, path
from transformer.cli.input import read_text
from transformer.cli.output import Output, open_output
from transformer.config import Decode
from transformer.config.loading import with_overrides
from transformer.data.formats.prefix import check_line_counts
from transformer.errors import UsageError


def main(words: Sequence[str]) -> None:
    parser = Parser("evaluate", "Score translations against references, as sacreBLEU does.")
    parser.add_argument("--model", type=path, metavar="DIR", help="translate --source with this model")
    parser.add_argument("--source", type=path, metavar="FILE", help="lines that the model translates")
    parser.add_argument("--hypothesis", type=path, metavar="FILE", help="translations, instead of a model")
    parser.add_argument(
        "--reference", required=True, type=path, metavar="FILE", help="reference translations, line by line"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="(default: text)")
    parser.add_argument("--lowercase", action="store_true", help="BLEU on lower-cased text")
    parser.add_argument(
        "--tokenize",
        choices=("13a", "none", "zh", "intl", "char"),
        default="13a",
        help="tokenizer of sacreBLEU for BLEU; none: the lines are tokenized already (default: 13a)",
    )
    parser.add_argument("--beam-size", type=int, metavar="K", help="beam size (default: decode.beam_size of the model)")
    arguments = parser.parse(words)
    if (arguments.model is None) == (arguments.hypothesis is None):
        raise UsageError("evaluate: give either --model DIR with --source FILE, or --hypothesis FILE")
    if arguments.model is not None and arguments.source is None:
        raise UsageError("evaluate: --model needs --source FILE to translate")
    if arguments.hypothesis is not None and (arguments.source is not None or arguments.beam_size is not None):
        raise UsageError("evaluate: --source and --beam-size go with --model, not with --hypothesis")
    with_overrides(Decode(), {"beam_size": arguments.beam_size}, "decode")  # checks its bounds before any file is read
    with open_output("-") as output:
        references = read_text(arguments.reference)
        named = arguments.source if arguments.hypothesis is None else arguments.hypothesis
        lines = read_text(named)
        check_line_counts(named, len(lines), arguments.reference, len(references))
        if arguments.hypothesis is None:
            lines = _translate(arguments.model, lines, arguments.beam_size, output)
        output.write(_report(lines, references, arguments).encode())


def _report(hypotheses: Sequence[str], references: Sequence[str], arguments: Namespace) -> str:
    from transformer.evaluation.metrics import evaluate

    scores = evaluate(hypotheses, references, lowercase=arguments.lowercase, tokenize=arguments.tokenize)
    if arguments.format == "json":
        by_name = {score.name: {"score": score.value, "signature": score.signature} for score in scores}
        return json.dumps(by_name) + "\n"
    values = [f"{score.name} {score.value:.1f}\n" for score in scores]
    return "".join(values + [f"{score.name} signature: {score.signature}\n" for score in scores])


def _translate(model: str, sources: Sequence[str], beam_size: int | None, output: Output) -> list[str]:
    from transformer.cli.jax_setup import configure_jax
    from transformer.translation.translator import Translator

    configure_jax()
    hypotheses = []
    for translation in Translator.load(model).translate(sources, beam_size=beam_size):
        output.raise_if_stopped()
        hypotheses.append(translation.text)
    return hypotheses
