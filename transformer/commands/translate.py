"""translate: lines in, lines out."""

import logging
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from transformer.commands.arguments import Parser, path
from transformer.commands.files import Input, json_line, number_of_lines, open_input
from transformer.commands.output import Output, open_output, refuse_overwriting
from transformer.errors import UsageError

if TYPE_CHECKING:
    from transformer.translator import Translation, Translator

log = logging.getLogger(__name__)

SAMPLING = ("temperature", "top_k", "top_p", "seed")
Search = Callable[..., "Iterator[Translation]"]


def main(words: Sequence[str]) -> None:
    arguments = _parser().parse(words)
    _check(arguments)
    from transformer.commands.devices import start_jax
    from transformer.translator import Translator

    start_jax()
    search = _search(Translator.load(arguments.model), arguments)
    search([])  # refuses what this model cannot do before any input is read
    began = time.perf_counter()
    with open_input(arguments.input) as stream, open_output(arguments.output) as output:
        lines = Input(
            stream,
            most_bytes=arguments.max_line_bytes,
            short_only=arguments.long == "fail",
            utf8_only=arguments.on_bad_utf8 == "fail",
        )
        skipped = _translate(search, lines, output, arguments)
    if arguments.quiet:
        return
    for fault in lines.faults():
        log.warning("%s", fault)
    if skipped:
        log.warning("%s too long: left blank", number_of_lines(skipped))
    log.info("%s in %.1f s", number_of_lines(lines.count), time.perf_counter() - began)


def _search(translator: "Translator", arguments: Namespace) -> Search:
    """The model's translations of lines, as the arguments want them."""
    from transformer.translator import Sampler

    given = {name: value for name in SAMPLING if (value := getattr(arguments, name)) is not None}
    return partial(
        translator.translate,
        beam_size=arguments.beam_size,
        length_penalty=arguments.length_penalty,
        n_best=arguments.n_best,
        batch_tokens=arguments.batch_tokens,
        sampler=Sampler(**given) if arguments.sample else None,
        long=arguments.long,
    )


def _translate(search: Search, lines: Input, output: Output, arguments: Namespace) -> int:
    """Returns how many lines were left blank because they are too long."""
    from transformer.translator import WINDOW, WINDOW_CHARACTERS

    first = skipped = 0
    for window in lines.windows(WINDOW, WINDOW_CHARACTERS):
        output.obey()
        shown = []
        for number, translation in enumerate(search(window, first_line=first), first):
            if number in lines.too_long:
                translation = replace(translation, flags=("skipped",))
            skipped += "skipped" in translation.flags
            shown.append(show(translation, number, arguments.format))
        output.write("".join(shown).encode())
        output.flush()
        first += len(window)
    return skipped


def show(translation: "Translation", number: int, form: str) -> str:
    """A translation as the lines of a format. `number` is that of its line, from 0."""
    if form == "text":
        return "".join(f"{hypothesis.text}\n" for hypothesis in translation.hypotheses)
    if form == "nbest":  # Marian's
        return "".join(
            f"{number} ||| {hypothesis.text} ||| F0= {hypothesis.log_probability:.6g} ||| {hypothesis.score:.6g}\n"
            for hypothesis in translation.hypotheses
        )
    fields: dict[str, Any] = {
        "line": number + 1,
        "source": translation.source,
        "translation": translation.text,
        "score": translation.score,
        "flags": translation.flags,
    }
    if len(translation.hypotheses) > 1:
        fields["n_best"] = [{"translation": other.text, "score": other.score} for other in translation.hypotheses]
    return json_line(fields)


def _parser() -> Parser:
    parser = Parser("translate", "Translate lines: one line out for each line in, in the same order.")
    parser.add_argument("--model", required=True, type=path, metavar="DIR", help="a run directory or a model directory")
    parser.add_argument(
        "-i", "--input", default="-", type=path, metavar="FILE", help="what to translate (default: stdin)"
    )
    parser.add_argument(
        "-o", "--output", default="-", type=path, metavar="FILE", help="the translations (default: stdout)"
    )
    parser.add_argument(
        "--format",
        choices=("text", "jsonl", "nbest"),
        default="text",
        help="text: a line each; jsonl: an object a line with line, source, translation, score and flags;"
        " nbest: Marian's `0 ||| hypothesis ||| F0= log-probability ||| score` (default: text)",
    )
    parser.add_argument("--quiet", action="store_true", help="nothing on stderr but errors")
    _add_faults(parser)
    _add_search(parser)
    _add_sampling(parser)
    return parser


def _add_faults(parser: Parser) -> None:
    faults = parser.add_argument_group("faulty input", "What is done about it is told in a line on stderr.")
    faults.add_argument(
        "--on-bad-utf8",
        choices=("replace", "fail"),
        default="replace",
        help="U+FFFD in the place of bytes that are not UTF-8, or stop there with exit code 3 (default: replace)",
    )
    faults.add_argument(
        "--long",
        choices=("split", "skip", "fail"),
        default="split",
        help="a line with more tokens than the model takes: translate it in parts, leave its line blank, or stop there"
        " with exit code 3 (default: split)",
    )
    faults.add_argument(
        "--max-line-bytes",
        type=int,
        default=1 << 20,
        metavar="N",
        help="a line with more is not read: it is left blank, or with --long fail an error (default: 1048576)",
    )


def _add_search(parser: Parser) -> None:
    search = parser.add_argument_group("search", "What is not given is as the model's config has it.")
    search.add_argument("--beam-size", type=int, metavar="K", help="hypotheses kept open; 1: greedy")
    search.add_argument(
        "--length-penalty", type=float, metavar="ALPHA", help="score = log-probability / length^ALPHA (EOS counted)"
    )
    search.add_argument(
        "--n-best", type=int, default=1, metavar="N", help="hypotheses of a line, best first (default: 1)"
    )
    search.add_argument(
        "--batch-tokens", type=int, metavar="N", help="source positions translated at a time, padding included"
    )


def _add_sampling(parser: Parser) -> None:
    sampling = parser.add_argument_group("sampling", "Draw translations at random instead of searching the best.")
    sampling.add_argument("--sample", action="store_true", help="sample; --n-best draws of a line, best first")
    sampling.add_argument("--temperature", type=float, help="below 1: closer to greedy (default: 1)")
    sampling.add_argument("--top-k", type=int, help="only the k most probable tokens; 0: all (default: 0)")
    sampling.add_argument("--top-p", type=float, help="only the fewest tokens that hold this probability (default: 1)")
    sampling.add_argument("--seed", type=int, help="with the number of the line it fixes each draw (default: 1)")


def _check(arguments: Namespace) -> None:
    """Raises UsageError for what no model could do."""
    bounds = {
        "beam_size": (1, 1024),
        "length_penalty": (0, 10),
        "n_best": (1, 1024),
        "batch_tokens": (1, 1 << 24),
        "temperature": (1e-6, 1_000_000),
        "top_k": (0, 1 << 31),
        "top_p": (1e-9, 1),
        "seed": (0, (1 << 31) - 1),
        "max_line_bytes": (1, 1 << 30),
    }
    for name, (least, most) in bounds.items():
        value = getattr(arguments, name)
        if value is not None and not least <= value <= most:
            raise UsageError(f"--{name.replace('_', '-')} {value}: must be from {least} to {most}")
    if not arguments.sample and any(getattr(arguments, name) is not None for name in SAMPLING):
        raise UsageError("--temperature, --top-k, --top-p and --seed go with --sample")
    for name in ("input", "output"):
        if not getattr(arguments, name):
            raise UsageError(f"--{name}: the name of the file is empty; use - for std{name[:-3]}")
    refuse_overwriting(arguments.output, arguments.input, model=arguments.model)
