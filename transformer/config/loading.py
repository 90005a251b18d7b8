"""Reads a config from a TOML file and from dotted flags. Each error is one line with the file and the key."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from transformer.config import Config, CorpusTable
from transformer.config.data import STRING, TABLE
from transformer.config.section import Effect, Section
from transformer.errors import UsageError, nearest
from transformer.files.encoding import encoding_fault, without_mark

AnySection = TypeVar("AnySection", bound=Section)


class Setting(NamedTuple):
    """A setting, as it is listed by `--help` and compared when a run is resumed."""

    key: str
    """the dotted key, such as `train.steps`"""
    meaning: str
    default: str
    """the default value, in TOML"""
    takes_several: bool
    """whether the value is a list"""
    choices: tuple[str, ...]
    """the possible values, if the setting has a fixed list of them"""
    effect: Effect | None
    """None: the setting is not part of a config"""


def settings() -> list[Setting]:
    """Returns every setting of a config, section by section."""
    return settings_of(Config)


def settings_of(section: type[Section], prefix: str = "") -> list[Setting]:
    """Returns the settings of a section and of the sections in it. The prefix is put before each key."""
    found: list[Setting] = []
    for name, field in section.model_fields.items():
        if isinstance(field.default, Section):
            found += settings_of(type(field.default), f"{prefix}{name}.")
        else:
            meaning = " ".join((field.description or "").split())
            effect = next((each for each in field.metadata if isinstance(each, Effect)), None)
            kind = get_origin(field.annotation)
            choices = get_args(field.annotation) if kind is Literal else ()
            default = json.dumps(field.default)
            found.append(Setting(f"{prefix}{name}", meaning, default, kind is tuple, choices, effect))
    return found


def sections() -> dict[str, str]:
    """Returns the sections of a config, each with its docstring."""
    defaults = {name: field.default for name, field in Config.model_fields.items()}
    return {name: (type(default).__doc__ or "") for name, default in defaults.items() if isinstance(default, Section)}


def load(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Loads the config from the TOML file at `path`.

    The values in `overrides` replace those in the file. Its keys are dotted, for example `train.steps`.

    Raises UsageError if the file cannot be read, or if a setting is unknown, missing or invalid.
    """
    return resolve(read(path, overrides), path)


def read(path: str | Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Reads the values of the TOML file, by section, and replaces those that are in `overrides`. Adds no defaults.

    Raises UsageError for a file that cannot be read or is not valid TOML.
    """
    shown = _printable(path)
    try:
        content = Path(path).read_bytes()
        if fault := encoding_fault(shown, content):
            raise UsageError(fault)
        text = without_mark(content).decode("utf8")
    except FileNotFoundError:
        raise UsageError(f"{shown}: no such config file") from None
    except (OSError, ValueError) as problem:  # ValueError: not UTF-8, or a NUL in the name of the file
        raise UsageError(f"{shown}: cannot be read as a config: {getattr(problem, 'strerror', problem)}") from None
    try:
        values: dict[str, Any] = tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"{shown}: not valid as a config: lists or tables are nested too deep") from None
    except ValueError as problem:  # also for an integer of thousands of digits
        raise UsageError(f"{shown}: not valid TOML: {problem}") from None
    for key, value in (overrides or {}).items():
        *section, name = key.split(".")
        place = values
        for part in section:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise UsageError(f"{shown}: {part} = {place!r}: must be a section; write [{part}]")
        place[name] = value
    return values


def resolve(values: Mapping[str, Any], path: str | Path) -> Config:
    """Adds the defaults to the values that were read from `path`. Raises UsageError if a value is not valid."""
    shown = _printable(path)
    if problem := _lax_value(values):
        raise UsageError(f"{shown}: {problem}")
    try:
        return Config.model_validate(values)
    except ValidationError as problem:
        raise UsageError(f"{shown}: {_explain(problem)}") from None


def with_overrides(section: AnySection, overrides: Mapping[str, Any], name: str = "") -> AnySection:
    """Returns the section with its values replaced by those of `overrides` that are not None.

    Raises UsageError for an invalid value. `name` is the name of the section in the message.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    fields: dict[str, FieldInfo] = section.__class__.model_fields
    for key, value in given.items():
        if isinstance(value, bool) and key in fields and fields[key].annotation is not bool:
            raise UsageError(f"{name}.{key} = {value}: must not be True or False".removeprefix("."))
    try:
        return section.model_validate(section.model_dump() | given)
    except ValidationError as problem:
        raise UsageError(f"{name}.{_explain(problem)}".removeprefix(".")) from None


def _explain(problem: ValidationError) -> str:
    """Turns an error of pydantic into `key = value: what is wrong and how to fix it`."""
    error = problem.errors()[0]
    parts = [part for part in error["loc"] if isinstance(part, str) and part not in (STRING, TABLE)]
    key, is_in_table = ".".join(parts), TABLE in error["loc"]
    keys = [setting.key for setting in settings()]
    match error["type"]:
        case "extra_forbidden":
            in_table = [".".join([*parts[:-1], name]) for name in CorpusTable.model_fields]
            known = in_table if is_in_table else [*keys, *sections()]
            same_name = [other for other in known if other.rpartition(".")[2] == key.rpartition(".")[2]]
            return f"unknown key {key}{nearest(key, same_name) or nearest(key, known)}"
        case "value_error":
            fault = error["msg"].removeprefix("Value error, ")
            return f"{key} = {fault}" if key in keys or is_in_table else fault
        case "missing":
            return f"{key}: missing in {error['input']!r}"
        case "model_type":
            return f"{key} = {error['input']!r}: must be a section; write [{key}]"
        case "tuple_type":
            return f"{key} = {error['input']!r}: should be a list"
    return f"{key} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _printable(path: str | Path) -> str:
    """Returns the path as printable text on one line, whatever characters it has."""
    return str(path) if str(path).isprintable() else repr(str(path))


def _lax_value(values: Mapping[str, Any]) -> str | None:
    """Returns the fault of a value that pydantic accepts and this package does not, such as a boolean for a number."""
    for setting in settings():
        section, _, name = setting.key.rpartition(".")
        place = values.get(section) if section else values
        value = place.get(name) if isinstance(place, Mapping) else None
        if isinstance(value, bool) and setting.default not in ("true", "false"):
            return f"{setting.key} = {json.dumps(value)}: must not be a boolean; the default is {setting.default}"
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            return f"{setting.key}: an integer of more than 64 bits; use a smaller one"
        if any(isinstance(text, str) and "\0" in text for text in (value if isinstance(value, list) else [value])):
            return f"{setting.key} = {value!r}: contains a NUL character; remove it"
    return None
