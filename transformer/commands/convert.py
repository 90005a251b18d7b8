"""convert: the same model with its weights in another precision."""

import logging
from collections.abc import Sequence

from transformer.commands.arguments import Parser, path
from transformer.commands.model_output import free_place, write_model

log = logging.getLogger(__name__)


def main(words: Sequence[str]) -> None:
    parser = Parser(
        "convert",
        "Write a model again with its weights stored in another precision: float16 and bfloat16 take half the space"
        " on the disk. All of them are computed with as float32.",
    )
    parser.add_argument(
        "model", type=path, metavar="MODEL", help="a model directory, or a run directory for its best model"
    )
    parser.add_argument("output", type=path, metavar="OUT", help="the model directory to write; must not be there yet")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        required=True,
        help="float16 rounds to 11 bits and reaches 65504; bfloat16 rounds to 8 and reaches as far as float32",
    )
    arguments = parser.parse(words)
    place = free_place(arguments.output)
    import jax

    from transformer.model_dir import find_model, load_model

    jax.config.update("jax_platforms", "cpu")  # nothing is computed that needs an accelerator, or its memory
    source = find_model(arguments.model)
    model, tokenizers, card = load_model(source)
    before = (source / "model.safetensors").stat().st_size
    write_model(place, model, tokenizers, card.model_copy(update={"weights": arguments.dtype}))
    after = (place / "model.safetensors").stat().st_size
    log.info(
        "converted %s from %s to %s in %s: %.2f MB -> %.2f MB",
        source, card.weights, arguments.dtype, arguments.output, before / 1e6, after / 1e6,
    )  # fmt: skip
