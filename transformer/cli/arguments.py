"""Parses command lines with argparse. Errors are one line, and every setting has a flag.

tyro and pydantic-settings are not used: neither of them suggests the nearest flag in a one-line error, and both slow
down the start of a command.
"""

import argparse
import tomllib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from transformer.config import Config, CorpusTable, Data
from transformer.config.loading import AnySection, Setting, sections, settings, settings_of, with_overrides
from transformer.config.section import Section, expand_home
from transformer.errors import UsageError, nearest


class Parser(argparse.ArgumentParser):
    """Accepts flags only if they are written in full.

    Raises UsageError for wrong arguments. For an unknown flag, the message suggests the nearest one.
    """

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


class Once(argparse.Action):
    """Stores the value of a flag that can be given only once; argparse itself uses the last of several values."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option_string} {values}: is given twice; give it once")
        setattr(namespace, self.dest, values)


def path(text: str) -> str:
    """Replaces a leading `~` by the home directory: the `type` of arguments that name a file or a directory."""
    try:
        return expand_home(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def table(text: str) -> Any:
    """Returns an argument that starts with `{` as the table that it is in TOML, and any other unchanged.

    Raises UsageError.
    """
    if not text.startswith("{"):
        return text
    try:
        return tomllib.loads(f"table = {text}")["table"]
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"{text}: not an inline table of TOML: {problem}; write {{path = 'FILE', ...}}") from None


def corpus_spec(text: str) -> str | CorpusTable:
    """Returns the corpus that an argument names: a string, or a table in TOML. Raises UsageError."""
    return with_overrides(Data(), {"train": [table(text)]}).train[0]


def config_parser(command: str, description: str) -> Parser:
    """Returns a parser for `CONFIG.toml [--section.key VALUE ...]`."""
    parser = Parser(command, description)
    parser.add_argument(
        "config", type=path, metavar="CONFIG.toml", help="the settings that differ from the defaults below"
    )
    groups = {name: parser.add_argument_group(name, meaning) for name, meaning in sections().items()}
    for setting in settings():
        _add_setting(groups.get(setting.key.rpartition(".")[0], parser), setting, f" (default: {setting.default})")
    return parser


def add_section(
    parser: Parser, section: type[Section], prefix: str, meaning: str, short: Iterable[str] = (), default: bool = False
) -> None:
    """Adds the flag `--PREFIXKEY` for every setting of a section; the prefix is empty, or the section and a dot.

    The settings in `short` also get the flag `--KEY`. `default`: the help shows the defaults. `with_flags` returns the
    values.
    """
    group = parser.add_argument_group(prefix.rstrip(".") or section.__name__.lower(), meaning)
    for setting in settings_of(section, prefix):
        name = setting.key.removeprefix(prefix)
        flags = [f"--{name.replace('_', '-')}"] if name in short else []
        _add_setting(group, setting, f" (default: {setting.default})" if default else "", flags)


def _add_setting(
    group: "argparse._ActionsContainer", setting: Setting, default: str, short: Sequence[str] = ()
) -> None:
    group.add_argument(
        *dict.fromkeys([*short, f"--{setting.key.replace('_', '-')}", f"--{setting.key}"]),
        dest=setting.key,
        default=argparse.SUPPRESS,
        nargs="*" if setting.takes_several else None,
        metavar=f"{{{','.join(setting.choices)}}}" if setting.choices else setting.key.rpartition(".")[2].upper(),
        help=f"{setting.meaning}{default}".replace("%", "%%"),
    )


def with_flags(section: AnySection, arguments: argparse.Namespace, prefix: str = "") -> AnySection:
    """Returns the section with the values that the flags of `add_section` give. Raises UsageError if one is invalid."""
    given = {name: getattr(arguments, f"{prefix}{name}", None) for name in section.__class__.model_fields}
    return with_overrides(section, given, prefix.rstrip("."))


def add_check(parser: Parser) -> None:
    """Adds the flags of the check that runs an exported or imported model in both programs and compares the results."""
    parser.add_argument(
        "--check", type=path, metavar="FILE", help="lines to check with (default: some of the built-in corpus)"
    )
    parser.add_argument("--keep", action="store_true", help="keep what was written even if the check finds a fault")


def config_of(arguments: argparse.Namespace) -> Config:
    """Loads the config that the arguments of a command give. Ignores arguments that are not settings."""
    from transformer.run.resume import load_config  # imported here, because its imports would slow down --help

    keys = {setting.key for setting in settings()}
    given = {key: value for key, value in vars(arguments).items() if key in keys}
    lists = {key: list(map(table, value)) for key, value in given.items() if isinstance(value, list)}
    return load_config(arguments.config, given | lists)
