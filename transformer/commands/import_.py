"""import: another program's model as one of ours."""

import logging
from collections.abc import Sequence
from pathlib import Path

from transformer.commands.arguments import Parser, add_check, path
from transformer.commands.model_output import free_place, restore_on_failure, write_model

log = logging.getLogger(__name__)


def main(words: Sequence[str]) -> None:
    parser = Parser(
        "import",
        "Make a model directory of ours out of another program's model, and check that the two say the same, if that"
        " program is installed here.",
    )
    parser.add_argument("folder", type=path, metavar="DIR", help="the other program's model")
    parser.add_argument("output", type=path, metavar="OUT", help="the model directory to write; must not be there yet")
    parser.add_argument(
        "--from", required=True, choices=("marian",), dest="program", help="MarianMTModel of Hugging Face, as OPUS-MT's"
    )
    parser.add_argument("--source", default="", metavar="CODE", help="language code (default: what the folder says)")
    parser.add_argument("--target", default="", metavar="CODE", help="language code (default: what the folder says)")
    add_check(parser)
    arguments = parser.parse(words)
    place = free_place(arguments.output)
    import jax

    from transformer.commands.devices import start_jax
    from transformer.commands.peers import check_agreement, lines_to_check, marian
    from transformer.interop.marian_import import import_marian
    from transformer.translator import Translator

    lines = lines_to_check(arguments.check)
    start_jax()
    jax.config.update("jax_platforms", "cpu")  # in float32 without TF32, as the other program computes for the check
    imported = import_marian(Path(arguments.folder), arguments.source, arguments.target)
    with restore_on_failure(place, keep=arguments.keep):
        write_model(place, *imported)
        card = imported.card
        log.info("imported %s to %s: %s -> %s", arguments.folder, arguments.output, card.source, card.target)
        translator = Translator.load(place)
        peer = Path(arguments.folder), translator.tokenizers, translator.card
        check_agreement(translator, lambda: marian(*peer), lines, "Transformers", exact=True)
