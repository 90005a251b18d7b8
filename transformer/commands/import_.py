"""import: writes a model directory from a model of another program."""

import logging
from collections.abc import Sequence
from pathlib import Path

from transformer.cli.arguments import Parser, add_check, path
from transformer.cli.model_output import check_agreement, check_output, lines_to_check, restore_on_failure

log = logging.getLogger(__name__)


def main(words: Sequence[str]) -> None:
    parser = Parser(
        "import",
        "Write a model directory from a model of another program, and check that both give the same results, if that"
        " program is installed.",
    )
    parser.add_argument("folder", type=path, metavar="DIR", help="the other program's model")
    parser.add_argument(
        "output", type=path, metavar="OUT", help="the model directory to write; it must be empty or not exist"
    )
    parser.add_argument(
        "--from",
        required=True,
        choices=("marian",),
        dest="program",
        help="marian: a MarianMTModel of Hugging Face, such as an OPUS-MT model",
    )
    parser.add_argument(
        "--source", default="", metavar="CODE", help="language code (default: the one in the files of DIR)"
    )
    parser.add_argument(
        "--target", default="", metavar="CODE", help="language code (default: the one in the files of DIR)"
    )
    add_check(parser)
    arguments = parser.parse(words)
    place = check_output(arguments.output)
    from transformer.cli.jax_setup import configure_jax
    from transformer.interop.marian.import_ import import_marian
    from transformer.translation.model_dir import save_model
    from transformer.translation.translator import Translator

    lines = lines_to_check(arguments.check)
    configure_jax(cpu_only=True)  # the check compares results in float32 without TF32
    imported = import_marian(Path(arguments.folder), arguments.source, arguments.target)
    with restore_on_failure(place, keep=arguments.keep):
        save_model(place, *imported)
        config = imported.config
        log.info("imported %s to %s: %s -> %s", arguments.folder, arguments.output, config.source, config.target)
        check_agreement(Translator.load(place), arguments.folder, arguments.program, lines, exact=True)
