"""Command lines: argparse, with errors of one line, and a flag for every setting."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from transformer.config import Config, expand_home
from transformer.config_file import Setting, nearest, sections, settings
from transformer.errors import UsageError


class Parser(argparse.ArgumentParser):
    """Takes flags in full only. Raises UsageError for what is wrong, with the nearest flag for an unknown one."""

    def __init__(self, command: str, description: str):
        super().__init__(prog=command, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}; see --help")

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        known, unknown = self.parse_known_args(words)
        if unknown:
            flag = unknown[0].split("=")[0]
            near = nearest(flag, self._option_string_actions)
            raise UsageError(f"{self.prog}: unknown argument {flag}{near}; see --help")
        return known


def path(text: str) -> str:
    """The type of an argument that names a file or a directory: a leading `~` is the home directory."""
    try:
        return expand_home(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def config_parser(command: str, description: str) -> Parser:
    """A parser of `CONFIG.toml [--section.key VALUE ...]`."""
    parser = Parser(command, description)
    parser.add_argument(
        "config", type=path, metavar="CONFIG.toml", help="the settings that differ from the defaults below"
    )
    groups = {name: parser.add_argument_group(name, meaning) for name, meaning in sections().items()}
    for setting in settings():
        _add_setting(groups.get(setting.key.rpartition(".")[0], parser), setting, f" (default: {setting.default})")
    return parser


def add_section(parser: Parser, section: str, meaning: str) -> None:
    """A flag for every setting of a section, for a command that takes no config: see `section_of`."""
    group = parser.add_argument_group(section, meaning)
    for setting in settings():
        if setting.key.startswith(f"{section}."):
            _add_setting(group, setting, "")


def _add_setting(group: "argparse._ActionsContainer", setting: Setting, default: str) -> None:
    group.add_argument(
        *dict.fromkeys([f"--{setting.key.replace('_', '-')}", f"--{setting.key}"]),
        dest=setting.key,
        default=argparse.SUPPRESS,
        nargs="*" if setting.several else None,
        metavar=setting.key.rpartition(".")[2].upper(),
        help=f"{setting.meaning}{default}".replace("%", "%%"),
    )


def section_of(arguments: argparse.Namespace, section: str) -> dict[str, str]:
    """The settings of a section that the flags of `add_section` give, by their names in it."""
    given = vars(arguments).items()
    return {key.removeprefix(f"{section}."): value for key, value in given if key.startswith(f"{section}.")}


def add_check(parser: Parser) -> None:
    """Adds the flags of the check that compares the results with those of the other program."""
    parser.add_argument(
        "--check", type=path, metavar="FILE", help="lines to check with (default: some of the built-in corpus)"
    )
    parser.add_argument("--keep", action="store_true", help="keep what was written even if the check finds a fault")


def parse_config(parser: Parser, words: Sequence[str]) -> Config:
    """The config that the words name, with their flags over it."""
    return config_of(parser.parse(words))


def config_of(arguments: argparse.Namespace) -> Config:
    """The config among the arguments of a `config_parser`, which may have others."""
    from transformer.training.resume import load_config  # imported here, as its imports would slow down --help

    keys = {setting.key for setting in settings()}
    return load_config(arguments.config, {key: value for key, value in vars(arguments).items() if key in keys})
