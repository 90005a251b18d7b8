"""From a TOML file and dotted flags to a config, or to one line that says what is wrong."""

import difflib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from transformer.config import Config, Section
from transformer.errors import UsageError

AnySection = TypeVar("AnySection", bound=Section)


class Setting(NamedTuple):
    key: str  # dotted
    meaning: str
    default: str  # as in TOML
    several: bool  # takes several values


def settings() -> list[Setting]:
    """Every setting there is, in the order of config.py."""
    found = []
    for name, field in Config.model_fields.items():
        section = field.default
        inner = type(section).model_fields if isinstance(section, Section) else {"": field}
        for key, setting in inner.items():
            meaning = " ".join((setting.description or "").split())
            several = get_origin(setting.annotation) is tuple
            found.append(Setting(f"{name}.{key}".strip("."), meaning, json.dumps(setting.default), several))
    return found


def sections() -> dict[str, str]:
    """The sections, each with a line about it."""
    defaults = {name: field.default for name, field in Config.model_fields.items()}
    return {name: (type(default).__doc__ or "") for name, default in defaults.items() if isinstance(default, Section)}


def load(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """The config in the TOML file at `path`, with dotted keys replaced. Raises UsageError in one line."""
    return resolve(read(path, overrides), path)


def read(path: str | Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The values that the TOML file at `path` and the dotted keys give, by section, before any default or check.

    Raises UsageError for a file that is not valid TOML.
    """
    shown = _shown(path)
    values = _read(path, shown)
    for key, value in (overrides or {}).items():
        *section, name = key.split(".")
        place = values
        for part in section:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise UsageError(f"{shown}: {part} = {place!r}: is a section; write [{part}]")
        place[name] = value
    return values


def resolve(values: Mapping[str, Any], path: str | Path) -> Config:
    """The config of the values that were read from `path`, with the defaults. Raises UsageError in one line."""
    shown = _shown(path)
    for problem in _taken_for_something_else(values):
        raise UsageError(f"{shown}: {problem}")
    try:
        return Config.model_validate(values)
    except ValidationError as problem:
        raise UsageError(f"{shown}: {_explain(problem.errors()[0])}") from None


def _shown(path: str | Path) -> str:
    """The file's name, in one line whatever it holds."""
    return str(path) if str(path).isprintable() else repr(str(path))


def _read(path: str | Path, shown: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf8"))
    except FileNotFoundError:
        raise UsageError(f"{shown}: no such config file") from None
    except OSError as problem:
        raise UsageError(f"{shown}: cannot be read as a config: {problem.strerror}") from None
    except UnicodeDecodeError as problem:
        raise UsageError(f"{shown}: cannot be read as a config: {problem}") from None
    except RecursionError:
        raise UsageError(f"{shown}: not valid as a config: lists or tables too deep in each other") from None
    except ValueError as problem:  # of the TOML, of an integer with thousands of digits, or of NUL in the file's name
        raise UsageError(f"{shown}: not valid TOML: {problem}") from None


def _taken_for_something_else(values: Mapping[str, Any]) -> Iterator[str]:
    """What pydantic lets pass: true as 1, integers that TOML has not, and NUL in the name of a file."""
    for setting in settings():
        section, _, name = setting.key.rpartition(".")
        place = values.get(section) if section else values
        value = place.get(name) if isinstance(place, Mapping) else None
        if isinstance(value, bool) and setting.default not in ("true", "false"):
            yield f"{setting.key} = {_toml(value)}: should be no boolean"
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            yield f"{setting.key}: an integer of more than 64 bits; make it smaller"
        if any(isinstance(text, str) and "\0" in text for text in (value if isinstance(value, list) else [value])):
            yield f"{setting.key} = {value!r}: holds a NUL character; leave it out"


def changed(section: AnySection, changes: Mapping[str, Any], name: str = "") -> AnySection:
    """The section with the changes that are not None. Raises UsageError, with the section's name, for a wrong one."""
    given = {key: value for key, value in changes.items() if value is not None}
    try:
        return section.model_validate(section.model_dump() | given)
    except ValidationError as problem:
        raise UsageError(f"{name}.{_explain(problem.errors()[0])}".removeprefix(".")) from None


def nearest(word: str, words: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing where no word is near."""
    match = difflib.get_close_matches(word, list(words), 1, cutoff=0.5)
    return f"; did you mean {match[0]}?" if match else ""


def _explain(error: ErrorDetails) -> str:
    """One of pydantic's errors as `key = value: what is wrong and how to mend it`."""
    key = ".".join(str(part) for part in error["loc"] if isinstance(part, str))
    if error["type"] == "extra_forbidden":
        known = [*(setting.key for setting in settings()), *sections()]
        elsewhere = [other for other in known if other.rpartition(".")[2] == key.rpartition(".")[2]]
        return f"unknown key {key}{nearest(key, elsewhere) or nearest(key, known)}"
    if error["type"] == "value_error":
        fault = error["msg"].removeprefix("Value error, ")
        return f"{key} = {fault}" if key in (setting.key for setting in settings()) else fault
    if error["type"] == "model_type":
        return f"{key} = {error['input']!r}: is a section; write [{key}]"
    if error["type"] == "tuple_type":
        return f"{key} = {error['input']!r}: should be a list"
    return f"{key} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"


def to_toml(config: Config) -> str:
    """Every setting, as a file that `load` reads back to an equal config."""
    lines: list[str] = []
    for name, value in config.model_dump(mode="json").items():
        if isinstance(value, dict):
            lines += ["", f"[{name}]", *(f"{key} = {_toml(item)}" for key, item in value.items())]
        else:
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """JSON is TOML too, but for surrogate pairs and a bare DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
