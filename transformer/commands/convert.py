"""convert: writes a model with its weights in another precision."""

import logging
from collections.abc import Sequence

from transformer.cli.arguments import Parser, path
from transformer.cli.model_output import check_output

log = logging.getLogger(__name__)


def main(words: Sequence[str]) -> None:
    parser = Parser(
        "convert",
        "Write a model with its weights stored in another precision: float16 and bfloat16 take half the space on the"
        " disk. Computations are in the same precision as before.",
    )
    parser.add_argument(
        "model", type=path, metavar="MODEL", help="a model directory, or a run directory for its best model"
    )
    parser.add_argument("output", type=path, metavar="OUT", help="the model directory to write; absent or empty")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        required=True,
        help="float16 has 11 significant bits, up to 65504; bfloat16 has 8, and the range of float32",
    )
    arguments = parser.parse(words)
    place = check_output(arguments.output)
    from transformer.cli.jax_setup import configure_jax
    from transformer.files.model_files import find_model
    from transformer.translation.model_dir import load_model, save_model

    configure_jax(cpu_only=True)  # this command needs no accelerator
    source = find_model(arguments.model)
    model, tokenizers, config = load_model(source)
    save_model(place, model, tokenizers, config.model_copy(update={"weights": arguments.dtype}))
    names = source, config.weights, arguments.dtype, arguments.output
    sizes = [(directory / "model.safetensors").stat().st_size / 1e6 for directory in (source, place)]
    log.info("converted %s from %s to %s in %s: %.2f MB -> %.2f MB", *names, *sizes)
