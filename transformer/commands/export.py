"""export: a model of ours as another program's."""

import importlib
import importlib.util
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transformer.commands.arguments import Parser
from transformer.commands.model_output import free_place
from transformer.errors import SystemProblem, UsageError

if TYPE_CHECKING:
    from transformer.interop.agreement import Peer
    from transformer.translator import Translator

log = logging.getLogger(__name__)

QUANTIZATIONS = ("float32", "float16", "bfloat16", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16")


def main(words: Sequence[str]) -> None:
    parser = Parser(
        "export",
        "Write a model as another program's, and check that the two say the same, if that program is installed here.",
    )
    parser.add_argument("output", metavar="OUT", help="the directory to write; must not be there yet")
    parser.add_argument("--model", required=True, metavar="DIR", help="a run directory or a model directory")
    parser.add_argument(
        "--to",
        required=True,
        choices=("ctranslate2", "marian"),
        help="ctranslate2: an engine for CPUs and GPUs in production; marian: MarianMTModel of Hugging Face",
    )
    parser.add_argument(
        "--quantization", choices=QUANTIZATIONS, default="float32", help="of the weights, in ctranslate2 (float32)"
    )
    parser.add_argument("--check", metavar="FILE", help="lines to check with (default: some of the built-in corpus)")
    arguments = parser.parse(words)
    if arguments.to == "marian" and arguments.quantization != "float32":
        raise UsageError("--quantization: Marian models have none; convert --dtype changes the precision of a model")
    place = free_place(arguments.output)
    from transformer.commands.devices import start_jax
    from transformer.commands.peers import lines_to_check, report
    from transformer.translator import Translator

    lines = lines_to_check(arguments.check)
    start_jax()
    translator = Translator.load(arguments.model)
    write, peer = (_ctranslate2 if arguments.to == "ctranslate2" else _marian)(translator, arguments.quantization)
    _put(place, write)
    size = sum(file.stat().st_size for file in place.iterdir()) / 1e6
    log.info("exported %s to %s: %.2f MB", arguments.model, arguments.output, size)
    report(translator, lambda: peer(place), lines, arguments.to, exact=arguments.quantization == "float32")


Write = Callable[[Path], None]
Open = Callable[[Path], "Peer"]


def _ctranslate2(translator: "Translator", quantization: str) -> tuple[Write, Open]:
    try:
        ours = importlib.import_module("transformer.interop.ctranslate2")
    except ImportError as problem:
        raise UsageError(
            f"--to ctranslate2: {problem}; pip install 'transformer-translation[ct2]', or: pip install ctranslate2"
        ) from None
    if "bfloat16" in quantization and importlib.util.find_spec("torch") is None:
        raise UsageError(f"--quantization {quantization}: CTranslate2 needs PyTorch to write that; pip install torch")
    parts = translator.model, translator.tokenizers, translator.card
    ours.check(*parts[1:])
    return (
        lambda place: ours.export(place, *parts, quantization),
        lambda place: ours.CTranslate2(place, *parts[1:]),
    )


def _marian(translator: "Translator", quantization: str) -> tuple[Write, Open]:
    from transformer.commands.peers import marian
    from transformer.interop import marian_export

    parts = translator.model, translator.tokenizers, translator.card
    marian_export.check(*parts[1:])
    return lambda place: marian_export.export(place, *parts), lambda place: marian(place, *parts[1:])


def _put(place: Path, write: Write) -> None:
    """Writes into a directory beside the place, and gives it the name when it is whole."""
    from safetensors import SafetensorError

    new = place.with_name(place.name + ".new")
    try:
        new.mkdir(parents=True)
        write(new)
        if place.exists():
            place.rmdir()
        os.rename(new, place)
    except (OSError, SafetensorError) as problem:
        fault = getattr(problem, "strerror", None) or problem
        raise SystemProblem(f"{place}: cannot be written: {fault}; make room, or choose another") from problem
    finally:
        shutil.rmtree(new, ignore_errors=True)
