"""import: another program's model as one of ours."""

import logging
from collections.abc import Sequence
from pathlib import Path

from transformer.commands.arguments import Parser
from transformer.commands.model_output import free_place, write_model

log = logging.getLogger(__name__)


def main(words: Sequence[str]) -> None:
    parser = Parser(
        "import",
        "Make a model directory of ours out of another program's model, and check that the two say the same, if that"
        " program is installed here.",
    )
    parser.add_argument("folder", metavar="DIR", help="the other program's model")
    parser.add_argument("output", metavar="OUT", help="the model directory to write; must not be there yet")
    parser.add_argument(
        "--from", required=True, choices=("marian",), dest="program", help="MarianMTModel of Hugging Face, as OPUS-MT's"
    )
    parser.add_argument("--source", default="", metavar="CODE", help="language code (default: what the folder says)")
    parser.add_argument("--target", default="", metavar="CODE", help="language code (default: what the folder says)")
    parser.add_argument("--check", metavar="FILE", help="lines to check with (default: some of the built-in corpus)")
    arguments = parser.parse(words)
    place = free_place(arguments.output)
    from transformer.commands.devices import start_jax
    from transformer.commands.peers import lines_to_check, marian, report
    from transformer.interop.marian_import import import_marian
    from transformer.translator import Translator

    lines = lines_to_check(arguments.check)
    imported = import_marian(Path(arguments.folder), arguments.source, arguments.target)
    start_jax()
    write_model(place, *imported)
    card = imported.card
    log.info("imported %s to %s: %s -> %s", arguments.folder, arguments.output, card.source, card.target)
    translator = Translator.load(place)
    peer = Path(arguments.folder), translator.tokenizers, translator.card
    report(translator, lambda: marian(*peer), lines, "Transformers", exact=True)
