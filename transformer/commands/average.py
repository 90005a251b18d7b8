"""average: averages the weights of several checkpoints of a run."""

import logging
from collections.abc import Sequence
from pathlib import Path

from transformer.cli.arguments import Parser, path
from transformer.cli.model_output import check_output
from transformer.errors import UsageError

log = logging.getLogger(__name__)


def main(words: Sequence[str]) -> None:
    parser = Parser(
        "average",
        "Write a model whose weights are the mean of those of several checkpoints, often a better model than each of"
        " them. train.keep is the number of checkpoints that a run keeps.",
    )
    parser.add_argument("run", type=path, metavar="RUN", help="a run directory; it is only read")
    parser.add_argument("output", type=path, metavar="OUT", help="the model directory to write; absent or empty")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--last", type=int, metavar="N", help="the N newest checkpoints")
    choice.add_argument("--best", type=int, metavar="N", help="the N best ones by the run's train.best_metric")
    arguments = parser.parse(words)
    flag, count = ("--last", arguments.last) if arguments.best is None else ("--best", arguments.best)
    if count < 1:
        raise UsageError(f"{flag} {count}: must be at least 1")
    place, run = check_output(arguments.output), Path(arguments.run)
    from transformer.cli.jax_setup import configure_jax
    from transformer.run.averaging import average, best_steps, newest_steps, read_config
    from transformer.translation.model_dir import save_model

    configure_jax(cpu_only=True)  # averaging needs no accelerator, and a training run may be using its memory
    config = read_config(run)
    steps = newest_steps(run, count, config.train) if flag == "--last" else best_steps(run, count, config)
    save_model(place, *average(run, steps, config))
    log.info("averaged steps %s of %s into %s", ", ".join(map(str, steps)), run, arguments.output)
