"""train: a config, and flags over it, to a run."""

from collections.abc import Sequence

from transformer.commands.arguments import config_parser, parse_config


def main(words: Sequence[str]) -> None:
    parser = config_parser(
        "train",
        "Train the model of a config, or go on training it: the same command again resumes a run that was stopped.",
    )
    config = parse_config(parser, words)
    from transformer.commands.devices import start_jax

    start_jax()
    from transformer.training.loop import train

    train(config)
