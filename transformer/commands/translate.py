"""translate: reads lines, and writes their translations in the same order."""

import logging
import os
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from transformer.cli.arguments import Parser, add_section, path, with_flags
from transformer.cli.input import Faults, Input, InputFormat, format_line_count, json_line, open_input
from transformer.cli.output import Output, open_output, refuse_overwriting
from transformer.config import Decode, Lines, Sampling
from transformer.errors import UsageError

if TYPE_CHECKING:
    from transformer.translation.translator import Translation

log = logging.getLogger(__name__)

WITHOUT_PREFIX = ("beam_size", "length_penalty", "batch_tokens")  # settings of [decode] with a flag without decode.
Translate = Callable[..., "Iterator[Translation]"]


def main(words: Sequence[str]) -> None:
    arguments = _parser().parse(words)
    _check(arguments)
    lines, faults = with_flags(Lines(), arguments), with_flags(Faults(), arguments)
    sampling, input_format = with_flags(Sampling(), arguments), with_flags(InputFormat(), arguments)
    if input_format.input_format != "lines" and os.path.isfile(arguments.input):
        with open_input(arguments.input) as stream:  # a line without the column is found before any is translated
            deque(Input(stream, faults, format=input_format).lines(), maxlen=0)
    from transformer.cli.jax_setup import configure_jax
    from transformer.translation.translator import Translator

    configure_jax()
    translator = Translator.load(arguments.model)
    translate = partial(
        translator.translate,
        n_best=lines.n_best,
        long=lines.long,
        sampling=sampling if arguments.sample else None,
        decode=with_flags(translator.config.decode, arguments, "decode."),
    )
    translate([])  # raises an error for options that do not fit this model, before any input is read
    began = time.perf_counter()
    with open_input(arguments.input) as stream, open_output(arguments.output) as output:
        source = Input(stream, faults, fail_on_long=lines.long == "fail", format=input_format)
        skipped = _write_translations(translate, source, output, arguments.format)
    if arguments.quiet:
        return
    for fault in source.faults():
        log.warning("%s", fault)
    if skipped:
        log.warning("%s too long: left blank", format_line_count(skipped))
    log.info("%s in %.1f s", format_line_count(source.count), time.perf_counter() - began)


def _write_translations(translate: Translate, source: Input, output: Output, output_format: str) -> int:
    """Writes the translations. Returns the number of lines that are left blank because they are too long."""
    from transformer.translation.windows import windows

    first = skipped = 0
    for window in windows(source.lines(), source.is_ready):
        output.raise_if_stopped()
        lines = []
        for number, translation in enumerate(translate(window, first_line=first), first):
            skipped += "skipped" in translation.flags
            lines.append(format_translation(translation, number, output_format))
        output.write("".join(lines).encode())
        output.flush()
        first += len(window)
    return skipped


def format_translation(translation: "Translation", number: int, output_format: str) -> str:
    """Formats a translation as one or more lines. `number` is the number of the source line, counted from 0."""
    if output_format == "text":
        return "".join(f"{hypothesis.text}\n" for hypothesis in translation.hypotheses)
    if output_format == "nbest":  # the format of Marian
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
    parser = Parser(
        "translate",
        "Translate lines, in the same order: one line of output for each line of input (with --n-best: several).",
    )
    parser.add_argument("--model", required=True, type=path, metavar="DIR", help="a run directory or a model directory")
    parser.add_argument(
        "-i", "--input", default="-", type=path, metavar="FILE", help="lines to translate (default: stdin)"
    )
    parser.add_argument(
        "-o", "--output", default="-", type=path, metavar="FILE", help="the translations (default: stdout)"
    )
    parser.add_argument(
        "--format",
        choices=("text", "jsonl", "nbest"),
        default="text",
        help="text: one line per hypothesis; jsonl: one object per line of input: line, source, translation, score,"
        " flags (and n_best); nbest: Marian's `LINE ||| hypothesis ||| F0= log-probability ||| score` (default: text)",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors on stderr")
    add_section(parser, InputFormat, "", "Which part of each line is translated.", default=True)
    add_section(parser, Lines, "", "How each line is translated.", default=True)
    add_section(parser, Faults, "", "Each kind of fault is reported in one line on stderr.", default=True)
    add_section(parser, Decode, "decode.", "The search (defaults: those of the model).", WITHOUT_PREFIX)
    parser.add_argument("--sample", action="store_true", help="sample --n-best translations per line, best first")
    add_section(parser, Sampling, "", "How --sample draws translations at random.", default=True)
    return parser


def _check(arguments: Namespace) -> None:
    """Raises UsageError if an argument is invalid for every model."""
    with_flags(Decode(), arguments, "decode.")
    if not arguments.sample and any(name in arguments for name in Sampling.model_fields):
        raise UsageError("--temperature, --top-k, --top-p and --seed need --sample")
    if "column" in arguments and with_flags(InputFormat(), arguments).input_format != "tsv":
        raise UsageError("--column needs --input-format tsv")
    for name, stream in (("input", "stdin"), ("output", "stdout")):
        if not getattr(arguments, name):
            raise UsageError(f"--{name}: the name of the file is empty; use - for {stream}")
    refuse_overwriting(arguments.output, arguments.input, model=arguments.model)
