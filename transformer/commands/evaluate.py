"""evaluate: BLEU, chrF and TER of translations, with the signatures of sacreBLEU."""

import logging
import os
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from transformer.cli.arguments import Once, Parser, path
from transformer.cli.input import read_text
from transformer.cli.output import Output, open_output
from transformer.cli.scores import as_json, as_text
from transformer.config import Decode
from transformer.config.loading import with_overrides
from transformer.config.train import BleuTokenizer
from transformer.data.formats.prefix import check_line_counts
from transformer.data.languages import script
from transformer.errors import DataError, UsageError

if TYPE_CHECKING:
    from transformer.translation.translator import Translator

log = logging.getLogger(__name__)


def main(words: Sequence[str]) -> None:
    arguments = _parser().parse(words)
    _check(arguments)
    with open_output("-") as output:
        translator = _load(arguments.model) if arguments.model is not None else None
        tokenizer = _tokenizer(arguments, translator)  # before anything is read or translated
        references = [read_text(file) for file in arguments.reference]
        files = _files(arguments)
        systems = {name: read_text(file) for name, file in files.items()}
        named = [*files.values(), *arguments.reference]
        for file, lines in zip(named, [*systems.values(), *references], strict=True):
            check_line_counts(file, len(lines), arguments.reference[0], len(references[0]))
        _check_count(arguments, arguments.reference[0], len(references[0]))
        if translator is not None:
            systems = {"": _translate(translator, systems[""], arguments.beam_size, output)}
        output.write(_report(systems, references, tokenizer, arguments).encode())


def _parser() -> Parser:
    parser = Parser("evaluate", "Score translations against references, as sacreBLEU does.")
    add = parser.add_argument
    add("--model", type=path, action=Once, metavar="DIR", help="translate --source with this model")
    add("--source", type=path, action=Once, metavar="FILE", help="lines that the model translates")
    add("--hypothesis", type=path, action=Once, metavar="FILE", help="translations, instead of a model")
    add(
        "--system",
        action="append",
        type=_system,
        metavar="NAME=FILE",
        help="translations of a system; give one for each system",
    )
    add("--reference", required=True, action="append", type=path, metavar="FILE",
        help="reference translations, line by line; give one for each set of references")  # fmt: skip
    add("--metrics", nargs="+", choices=("bleu", "chrf", "chrf++", "ter"), default=["bleu", "chrf", "ter"],
        help="(default: bleu chrf ter)")  # fmt: skip
    add("--paired", choices=("bs", "ar"), help="test each system against the first: paired bootstrap resampling (bs)"
        " or approximate randomization (ar)")  # fmt: skip
    add("--confidence", action="store_true", help="95%% confidence intervals by bootstrap resampling")
    add("--sentences", action="store_true", help="scores of each sentence too")
    add("--format", choices=("text", "json"), default="text", help="(default: text)")
    add("--lowercase", action="store_true", help="BLEU on lower-cased text")
    add("--tokenize", choices=get_args(BleuTokenizer), default="auto",
        help="tokenizer of sacreBLEU for BLEU; none: the lines are tokenized already; auto: that of the training of the"
        " model, or the one for the target language (default: auto)")  # fmt: skip
    add("--target-language", action=Once, metavar="CODE", help="for --tokenize auto (default: that of the model, or the"
        " suffix of the reference, as in test.de)")  # fmt: skip
    add("--beam-size", type=int, metavar="K", help="beam size (default: decode.beam_size of the model)")
    return parser


def _system(text: str) -> tuple[str, str]:
    """Returns the name and the file of a value of --system."""
    name, _, file = text.partition("=")
    if not (name and file and name.isprintable()):
        raise ArgumentTypeError(f"{text!r} must be NAME=FILE, as in base=base.txt")
    return name, path(file)


def _check(arguments: Namespace) -> None:
    """Raises UsageError for flags that do not go together, before anything is read."""
    if sum(given is not None for given in (arguments.model, arguments.hypothesis, arguments.system)) != 1:
        raise UsageError(
            "evaluate: give either --model DIR with --source FILE, or --hypothesis FILE, or --system NAME=FILE"
        )
    if arguments.model is not None and arguments.source is None:
        raise UsageError("evaluate: --model needs --source FILE to translate")
    if arguments.model is None and (arguments.source is not None or arguments.beam_size is not None):
        raise UsageError("evaluate: --source and --beam-size go with --model, not with --hypothesis or --system")
    with_overrides(Decode(), {"beam_size": arguments.beam_size}, "decode")  # checks its bounds
    names = [name for name, _ in arguments.system or ()]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"--system {repeated[0]}=...: is given twice; give each system its own name")
    files = _files(arguments)
    if arguments.paired and len(files) < 2:
        raise UsageError(f"--paired {arguments.paired}: needs at least two --system NAME=FILE, there are {len(files)}")
    if [*files.values(), *arguments.reference].count("-") > 1:
        raise UsageError("evaluate: only one file can be - (stdin)")
    seed = os.environ.get("SACREBLEU_SEED", "12345")
    if not (seed.lower() == "none" or (seed.isascii() and seed.isdigit())):
        raise UsageError(f"SACREBLEU_SEED={seed}: must be a number without a sign, or none; correct it or unset it")


def _files(arguments: Namespace) -> dict[str, str]:
    """Returns the file of each system by its name; the name of the only system of --model or --hypothesis is ""."""
    if arguments.system is None:
        return {"": arguments.hypothesis if arguments.model is None else arguments.source}
    return dict(arguments.system)


def _check_count(arguments: Namespace, file: str, count: int) -> None:
    """Raises DataError if the file of references has no lines, or too many for resampling."""
    from transformer.evaluation.comparison import MAX_RESAMPLED_LINES

    if count == 0:
        raise DataError("nothing to evaluate: there are no lines")
    if (arguments.paired or arguments.confidence) and count > MAX_RESAMPLED_LINES:
        raise DataError(
            f"{file} has {count} lines: --paired and --confidence hold all resamples in memory; use at most"
            f" {MAX_RESAMPLED_LINES} lines, or leave them out"
        )


def _tokenizer(arguments: Namespace, translator: "Translator | None") -> str:
    """Returns the tokenizer of BLEU. Raises UsageError if its packages are missing."""
    from transformer.evaluation.bleu_tokenizer import bleu_tokenizer, check_bleu_tokenizer

    setting, language = arguments.tokenize, arguments.target_language
    if language is None and translator is not None:
        language = translator.config.target
        setting = translator.config.bleu_tokenizer if setting == "auto" else setting
    suffixes = [Path(file.removesuffix(".gz")).suffix.removeprefix(".") for file in arguments.reference]
    languages = [language] if language is not None else [suffix for suffix in suffixes if script(suffix)] or [""]
    tokenizers = sorted({bleu_tokenizer(code, setting) for code in languages})
    if len(tokenizers) > 1:
        raise UsageError(
            f"--reference: the suffixes {', '.join(languages)} have several tokenizers ({', '.join(tokenizers)});"
            " give --target-language CODE"
        )
    if "bleu" in arguments.metrics:
        check_bleu_tokenizer(tokenizers[0], "--tokenize", arguments.tokenize)
    return tokenizers[0]


def _report(systems: dict[str, list[str]], references: list[list[str]], tokenizer: str, arguments: Namespace) -> str:
    from transformer.evaluation.comparison import Options, compare

    options = Options(
        metrics=tuple(arguments.metrics),
        tokenize=tokenizer,
        lowercase=arguments.lowercase,
        confidence=arguments.confidence,
        paired=arguments.paired,
        sentences=arguments.sentences,
    )
    scores = compare(systems, references, options)
    for metric, by_system in scores.items():
        if reason := next(iter(by_system.values())).reason:
            log.warning("%s is left out: %s", metric, reason)
    if arguments.format == "json":
        return as_json(scores, len(references), arguments.paired)
    return as_text(scores, arguments.paired)


def _load(model: str) -> "Translator":
    from transformer.cli.jax_setup import configure_jax
    from transformer.translation.translator import Translator

    configure_jax()
    return Translator.load(model)


def _translate(translator: "Translator", sources: Sequence[str], beam_size: int | None, output: Output) -> list[str]:
    hypotheses = []
    for translation in translator.translate(sources, beam_size=beam_size):
        output.raise_if_stopped()
        hypotheses.append(translation.text)
    return hypotheses
