"""export: writes a model for another program."""

import importlib.util
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transformer.cli.arguments import Parser, add_check, add_section, path, with_flags
from transformer.cli.model_output import check_agreement, check_output, lines_to_check, restore_on_failure
from transformer.config import Decode
from transformer.config.tables import import_object
from transformer.errors import UsageError, cannot_write
from transformer.files.atomic import put_directory
from transformer.files.model_files import new_and_old

if TYPE_CHECKING:
    from transformer.translation.translator import Translator

log = logging.getLogger(__name__)

QUANTIZATIONS = ("float32", "float16", "bfloat16", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16")


def main(words: Sequence[str]) -> None:
    parser = Parser("export", "Write a model for another program, and check the results if that program is installed.")
    parser.add_argument("output", type=path, metavar="OUT", help="the directory to write; absent or empty")
    parser.add_argument("--model", required=True, type=path, metavar="DIR", help="a run directory or a model directory")
    parser.add_argument(
        "--to",
        required=True,
        choices=("ctranslate2", "marian"),
        help="ctranslate2: an engine for CPUs and GPUs in production; marian: MarianMTModel of Hugging Face",
    )
    parser.add_argument(
        "--quantization", choices=QUANTIZATIONS, default="float32", help="of the weights, for ctranslate2 (float32)"
    )
    add_check(parser)
    add_section(parser, Decode, "decode.", "How the exported model decodes by default (default: as the model does).")
    arguments = parser.parse(words)
    if arguments.to == "marian" and arguments.quantization != "float32":
        raise UsageError("--quantization: not for Marian models; convert --dtype changes the precision of a model")
    place = check_output(arguments.output)
    from transformer.cli.jax_setup import configure_jax
    from transformer.translation.translator import Translator

    lines = lines_to_check(arguments.check)
    configure_jax(cpu_only=True)  # the check compares results in float32 without TF32
    translator = Translator.load(arguments.model)
    decode = with_flags(translator.config.decode, arguments, "decode.")
    translator.config = translator.config.model_copy(update={"decode": decode})
    write = _exporter(translator, arguments.to, arguments.quantization)
    with restore_on_failure(place, keep=arguments.keep):
        _put(place, write)
        size = sum(file.stat().st_size for file in place.iterdir()) / 1e6
        log.info("exported %s to %s: %.2f MB", arguments.model, arguments.output, size)
        check_agreement(translator, place, arguments.to, lines, exact=arguments.quantization == "float32")


def _exporter(translator: "Translator", program: str, quantization: str) -> Callable[[Path], None]:
    """Returns a function that writes the model into a directory. Raises UsageError if the export is not possible."""
    try:
        exporter = import_object(f"transformer.interop.{program}.export:exporter")
    except ImportError as problem:
        raise UsageError(
            f"--to {program}: {problem}; pip install 'transformer-translation[ct2]', or: pip install ctranslate2"
        ) from None
    parts = translator.model, translator.tokenizers, translator.config
    if program == "marian":
        return exporter(*parts)
    if "bfloat16" in quantization and importlib.util.find_spec("torch") is None:
        raise UsageError(f"--quantization {quantization}: CTranslate2 needs PyTorch to write that; pip install torch")
    return exporter(*parts, quantization)


def _put(place: Path, write: Callable[[Path], None]) -> None:
    """Writes a directory with a temporary name beside `place`, and renames it to `place` when it is complete."""
    from safetensors import SafetensorError

    new, old = new_and_old(place)
    try:
        new.mkdir(parents=True)
        write(new)
        put_directory(new, place, old)
    except (OSError, SafetensorError) as problem:
        raise cannot_write(place, problem) from problem
    finally:
        shutil.rmtree(new, ignore_errors=True)
