"""train: trains the run of a config."""

from collections.abc import Sequence

from transformer.cli.arguments import config_of, config_parser


def main(words: Sequence[str]) -> None:
    parser = config_parser(
        "train",
        "Train the model of a config. The same command again resumes a run that was stopped.",
    )
    parser.add_argument(
        "--allow-config-change",
        action="store_true",
        help="resume a run although settings have changed that affect its result",
    )
    arguments = parser.parse(words)
    config = config_of(arguments)
    from transformer.cli.jax_setup import configure_jax

    configure_jax()
    from transformer.run.trainer import train

    train(config, allow_changes=arguments.allow_config_change)
