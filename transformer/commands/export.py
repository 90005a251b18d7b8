"""export: a model of ours as another program's."""

import importlib
import importlib.util
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transformer.commands.arguments import Parser, add_check, add_section, path, section_of
from transformer.commands.model_output import free_place, restore_on_failure
from transformer.config_file import changed
from transformer.errors import SystemProblem, UsageError

if TYPE_CHECKING:
    from transformer.interop.agreement import Peer
    from transformer.translator import Translator

log = logging.getLogger(__name__)

QUANTIZATIONS = ("float32", "float16", "bfloat16", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16")


def main(words: Sequence[str]) -> None:
    parser = Parser(
        "export",
        "Write a model as another program's, and check that the results are the same, if that program is installed.",
    )
    parser.add_argument("output", type=path, metavar="OUT", help="the directory to write; must not be there yet")
    parser.add_argument("--model", required=True, type=path, metavar="DIR", help="a run directory or a model directory")
    parser.add_argument(
        "--to",
        required=True,
        choices=("ctranslate2", "marian"),
        help="ctranslate2: an engine for CPUs and GPUs in production; marian: MarianMTModel of Hugging Face",
    )
    parser.add_argument(
        "--quantization", choices=QUANTIZATIONS, default="float32", help="of the weights, in ctranslate2 (float32)"
    )
    add_check(parser)
    add_section(parser, "decode", "how the exported model decodes by default; what is not given is the model's own")
    arguments = parser.parse(words)
    if arguments.to == "marian" and arguments.quantization != "float32":
        raise UsageError("--quantization: Marian models have none; convert --dtype changes the precision of a model")
    place = free_place(arguments.output)
    import jax

    from transformer.commands.devices import start_jax
    from transformer.commands.peers import check_agreement, lines_to_check
    from transformer.translator import Translator

    lines = lines_to_check(arguments.check)
    start_jax()
    jax.config.update("jax_platforms", "cpu")  # in float32 without TF32, as the other program computes for the check
    translator = Translator.load(arguments.model)
    translator.card = translator.card.model_copy(
        update={"decode": changed(translator.card.decode, section_of(arguments, "decode"), "decode")}
    )
    write, peer = (_ctranslate2 if arguments.to == "ctranslate2" else _marian)(translator, arguments.quantization)
    with restore_on_failure(place, keep=arguments.keep):
        _put(place, write)
        size = sum(file.stat().st_size for file in place.iterdir()) / 1e6
        log.info("exported %s to %s: %.2f MB", arguments.model, arguments.output, size)
        exact = arguments.quantization == "float32"
        check_agreement(translator, lambda: peer(place), lines, arguments.to, exact=exact)


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
    return ours.exporter(*parts, quantization), lambda place: ours.CTranslate2(place, *parts[1:])


def _marian(translator: "Translator", quantization: str) -> tuple[Write, Open]:
    from transformer.commands.peers import marian
    from transformer.interop import marian_export

    parts = translator.model, translator.tokenizers, translator.card
    return marian_export.exporter(*parts), lambda place: marian(place, *parts[1:])


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
