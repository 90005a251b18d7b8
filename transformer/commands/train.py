"""train: a config, and flags over it, to a run."""

from collections.abc import Sequence

from transformer.commands.arguments import config_of, config_parser


def main(words: Sequence[str]) -> None:
    parser = config_parser(
        "train",
        "Train the model of a config, or go on training it: the same command again resumes a run that was stopped.",
    )
    parser.add_argument(
        "--allow-config-change",
        action="store_true",
        help="go on with a run under other settings than it has begun with, where its weights fit them",
    )
    arguments = parser.parse(words)
    config = config_of(arguments)
    from transformer.commands.devices import start_jax

    start_jax()
    from transformer.training.loop import train

    train(config, allow_changes=arguments.allow_config_change)
