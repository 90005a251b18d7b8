"""The initial model of a run, from which training starts: the model of `train.init_from`.

RUN/data/initial is a copy of the initial model. Until the run has a checkpoint, each start of the run makes the copy
again. After that, the run uses the copy, so that later changes of the original do not affect the run.
"""

import logging
from pathlib import Path

import jax
import numpy as np
from jax import Array
from pydantic import ValidationError

from transformer.config import Config, Model, Tokenizer, loading
from transformer.config.section import FIXED
from transformer.data.tokenizer import Tokenizers
from transformer.errors import UsageError
from transformer.files.model_files import find_model
from transformer.model.parameters import named
from transformer.model.transformer import Transformer
from transformer.run.run_dir import has_begun
from transformer.translation.model_config import ModelConfig
from transformer.translation.model_dir import load_model, save_model

log = logging.getLogger(__name__)

# Settings of [model] that do not change what the same weights compute.
FREE = {one.key for one in loading.settings_of(Model) if one.effect is not FIXED}


def complete(config: Config) -> tuple[Config, Tokenizers | None]:
    """Returns the config, completed with the settings of the initial model, and the tokenizers of that model.

    The languages, data.max_length, [model], [decode] and [about] are those of the initial model if the config does not
    set them. Without train.init_from, returns the config unchanged, and None. Raises UsageError if the model cannot be
    used, or if the config sets another shape or a tokenizer; ResourceError if the copy cannot be written.
    """
    if not config.train.init_from:
        return config, None
    place = _copy_in(config.directory)
    if has_begun(config.directory):
        if not place.exists():
            raise UsageError(
                f"{config.run_dir}: this run has no {place}; restore that, set train.init_from back, or choose another"
                " run_dir"
            )
        model, tokenizers, model_config = load_model(place)
        _check_same(config, model, tokenizers, model_config)
        return _completed(config, model_config), tokenizers
    model, tokenizers, model_config = _load(config)
    completed = _completed(config, model_config)
    languages = model_config.source, model_config.target, completed.data.source, completed.data.target
    log.info("starting from %s, a model of %s -> %s, for %s -> %s", config.train.init_from, *languages)
    save_model(place, model, tokenizers, model_config)
    return completed, tokenizers


def _check_same(config: Config, model: Transformer, tokenizers: Tokenizers, model_config: ModelConfig) -> None:
    """Raises UsageError if train.init_from has changed since the run began, and now names another model."""
    path = config.directory / "config.toml"
    recorded = loading.load(path).train.init_from if path.exists() else config.train.init_from
    if config.train.init_from == recorded:
        return
    other, of_other, other_config = _load(config)
    ours, theirs = named(model), named(other)
    same = ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)
    if not same or tokenizers.digest != of_other.digest or model_config != other_config:
        raise UsageError(
            f"train.init_from = {config.train.init_from}: is another model than {recorded or 'none'}, from which this"
            f" run began (its copy is in {_copy_in(config.directory)}); set it back, or choose another run_dir"
        )


def weights(run: Path, shapes: Transformer) -> dict[str, Array]:
    """Returns the weights of RUN/data/initial by name, in float32 and sharded like `shapes`.

    Raises UsageError if that model cannot be loaded.
    """
    model, _, _ = load_model(_copy_in(run))
    return jax.tree.map(
        lambda value, shape: jax.make_array_from_callback(value.shape, shape.sharding, lambda index: value[index]),
        named(model),
        named(shapes),
    )


def _copy_in(run: Path) -> Path:
    return run / "data" / "initial"


def _load(config: Config) -> tuple[Transformer, Tokenizers, ModelConfig]:
    """Loads the model of `train.init_from`. Raises UsageError if it cannot be loaded, or is in the run directory."""
    path = config.train.init_from
    try:
        place = find_model(path)
        if place.resolve().is_relative_to(config.directory.resolve()):
            raise UsageError(f"is in run_dir = {config.run_dir}, where this training writes; choose another run_dir")
        return load_model(place)
    except UsageError as problem:
        raise UsageError(f"train.init_from = {path}: {problem}") from None


def _completed(config: Config, model_config: ModelConfig) -> Config:
    _check_settings(config, model_config)
    values = config.model_dump()
    given = {
        "data": model_config.model_dump(include={"source", "target", "max_length"}),
        "model": model_config.model.model_dump(),
        "decode": model_config.decode.model_dump(),
        "about": model_config.about.model_dump(),
    }
    for section, settings in given.items():
        is_set = getattr(config, section).model_fields_set
        values[section] |= {key: value for key, value in settings.items() if key not in is_set}
    try:
        return Config.model_validate(values)
    except ValidationError as problem:
        fault = problem.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"{fault} (with the model of train.init_from = {config.train.init_from})") from None


def _check_settings(config: Config, model_config: ModelConfig) -> None:
    """Raises UsageError if the config sets a value in [model] that the initial model does not have, except for FREE.

    Before the run has a checkpoint, also raises it if the config sets anything in [tokenizer], because the initial
    model has its own tokenizers. A [tokenizer] with the default of every setting is accepted, so that the
    RUN/config.toml of another run can be used as a config.
    """
    model = f"the model of train.init_from = {config.train.init_from}"
    for key, theirs in model_config.model.model_dump(exclude=FREE).items():
        ours = getattr(config.model, key)
        if key in config.model.model_fields_set and ours != theirs:
            raise UsageError(f"model.{key} = {ours!r}: is {theirs!r} in {model}; leave it out")
    if has_begun(config.directory):  # `resume.check_settings` compares [tokenizer] with the recorded one
        return
    is_set = config.tokenizer.model_fields_set
    of_a_run = config.tokenizer == Tokenizer() and is_set == set(Tokenizer.model_fields)  # as in a RUN/config.toml
    if is_set and not of_a_run:
        key = min(is_set)
        raise UsageError(f"tokenizer.{key} = {getattr(config.tokenizer, key)!r}: {model} has its own; leave it out")
