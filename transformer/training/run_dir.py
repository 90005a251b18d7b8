"""The run directory: begun, or taken up again."""

from typing import Any

from transformer import config_file
from transformer.config import Config
from transformer.errors import UsageError

FIXED = ("seed", "data", "tokenizer", "model")  # what a run is made of: it cannot go on with others


def open_run(config: Config) -> None:
    """Makes the run directory and writes the config into it.

    Raises UsageError where it cannot be made, or holds a run that this config cannot continue.
    """
    path = config.directory / "config.toml"
    if path.exists():
        before, now = _fixed(config_file.load(path)), _fixed(config)
        for key, value in now.items():
            if before[key] != value:
                raise UsageError(
                    f"{config.run_dir}: {key} was {before[key]!r} in this run and is {value!r} now;"
                    " set it back, or choose another run_dir"
                )
    try:
        config.directory.mkdir(parents=True, exist_ok=True)
        path.write_text(config.to_toml(), encoding="utf8")
    except OSError as problem:
        raise UsageError(f"run_dir = {config.run_dir}: cannot be written: {problem.strerror}") from None


def _fixed(config: Config) -> dict[str, Any]:
    """The settings that a run cannot change, by their dotted keys."""
    found: dict[str, Any] = {}
    for name, value in config.model_dump(include=set(FIXED)).items():
        found |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {name: value}
    return found
