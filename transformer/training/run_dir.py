"""The run directory: begun, or taken up again."""

from typing import Any

from transformer import config_file
from transformer.config import Config
from transformer.errors import UsageError

FIXED = ("seed", "data", "tokenizer", "model")  # what a run is made of: it cannot go on with others


def check_run(config: Config) -> None:
    """Raises UsageError where the run directory cannot be made, or holds a run that this config cannot continue."""
    path = config.directory / "config.toml"
    if path.exists():
        before = _fixed(config_file.load(path))
        for key, value in _fixed(config).items():
            if before[key] != value:
                raise UsageError(
                    f"{config.run_dir}: {key} was {before[key]!r} in this run and is {value!r} now;"
                    " set it back, or choose another run_dir"
                )
    try:
        config.directory.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UsageError(f"run_dir = {config.run_dir}: cannot be made: {problem.strerror}") from None


def write_config(config: Config) -> None:
    """The resolved config, for whoever wants to run it again. From now on the run directory is of this run."""
    (config.directory / "config.toml").write_text(config.to_toml(), encoding="utf8")


def _fixed(config: Config) -> dict[str, Any]:
    """The settings that a run cannot change, by their dotted keys."""
    found: dict[str, Any] = {}
    for name, value in config.model_dump(include=set(FIXED)).items():
        found |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {name: value}
    return found
