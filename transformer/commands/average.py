"""average: one model of several checkpoints of a run."""

import logging
from collections.abc import Sequence
from pathlib import Path

from transformer.commands.arguments import Parser, path
from transformer.commands.model_output import free_place, write_model
from transformer.errors import UsageError

log = logging.getLogger(__name__)


def main(words: Sequence[str]) -> None:
    parser = Parser(
        "average",
        "Write a model whose weights are the mean of those of several checkpoints, often a better one than each of"
        " them. How many checkpoints a run keeps is its train.keep.",
    )
    parser.add_argument("run", type=path, metavar="RUN", help="a run directory; it is only read")
    parser.add_argument("output", type=path, metavar="OUT", help="the model directory to write; must not be there yet")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--last", type=int, metavar="N", help="the N newest checkpoints")
    choice.add_argument("--best", type=int, metavar="N", help="the N best ones by the run's train.best_metric")
    arguments = parser.parse(words)
    flag, count = ("--last", arguments.last) if arguments.best is None else ("--best", arguments.best)
    if count < 1:
        raise UsageError(f"{flag} {count}: must be at least 1")
    place, run = free_place(arguments.output), Path(arguments.run)
    import jax

    from transformer.commands.devices import start_jax
    from transformer.training.averaging import average, best_steps, newest_steps, read_config

    start_jax()
    jax.config.update("jax_platforms", "cpu")  # sums need no accelerator, whose memory a training may hold
    config = read_config(run)
    choose = newest_steps if flag == "--last" else best_steps
    steps = choose(run, count, config.train)
    write_model(place, *average(run, steps, config))
    log.info("averaged steps %s of %s into %s", ", ".join(map(str, steps)), run, arguments.output)
