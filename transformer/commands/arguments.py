"""Command lines: argparse, with errors of one line, and a flag for every setting."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from transformer.config import Config
from transformer.config_file import load, nearest, sections, settings
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


def config_parser(command: str, description: str) -> Parser:
    """A parser of `CONFIG.toml [--section.key VALUE ...]`."""
    parser = Parser(command, description)
    parser.add_argument("config", metavar="CONFIG.toml", help="the settings that differ from the defaults below")
    groups = {name: parser.add_argument_group(name, meaning) for name, meaning in sections().items()}
    for key, meaning, default, several in settings():
        section, _, name = key.rpartition(".")
        names = dict.fromkeys([f"--{key.replace('_', '-')}", f"--{key}"])
        groups.get(section, parser).add_argument(
            *names,
            dest=key,
            default=argparse.SUPPRESS,
            nargs="*" if several else None,
            metavar=name.upper(),
            help=f"{meaning} (default: {default})".replace("%", "%%"),
        )
    return parser


def parse_config(parser: Parser, words: Sequence[str]) -> Config:
    """The config that the words name, with their flags over it."""
    return config_of(parser.parse(words))


def config_of(arguments: argparse.Namespace) -> Config:
    """The config among the arguments of a `config_parser`, which may have others."""
    keys = {setting.key for setting in settings()}
    return load(arguments.config, {key: value for key, value in vars(arguments).items() if key in keys})
