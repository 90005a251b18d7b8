"""The model that a training starts from: that of `train.init_from`, as it was when the run began.

RUN/data/initial is a copy of it, written anew as long as the run has no checkpoint, and then the only one that is read:
what becomes of the model itself changes nothing about a run that has begun.
"""

import logging
from pathlib import Path

import jax
import numpy as np
from jax import Array
from pydantic import ValidationError
from safetensors import SafetensorError

from transformer import config_file
from transformer.config import Config, Tokenizer
from transformer.data.tokenizer import Tokenizers
from transformer.errors import SystemProblem, UsageError
from transformer.model.parameters import named
from transformer.model.transformer import Transformer
from transformer.model_dir import Card, find_model, load_model, save_model
from transformer.training.run_dir import has_begun, tokenizers_digest

log = logging.getLogger(__name__)

FREE = {"dropout", "attention_dropout", "compute_dtype", "remat"}  # of [model]: the same weights mean the same with any


def complete(config: Config) -> tuple[Config, Tokenizers | None]:
    """The config with all that it leaves to the model, and the model's tokenizers; without init_from: as it is, None.

    Languages, the longest pair, the shape, dropout and the defaults of decoding are the model's where the config does
    not set them. Raises UsageError where it sets another shape, or a tokenizer; SystemProblem.
    """
    if not config.train.init_from:
        return config, None
    place = _copy_in(config.directory)
    if has_begun(config.directory):
        if not place.exists():
            raise UsageError(
                f"{config.run_dir}: this run has begun without {place}; put that back, or train.init_from as it was, or"
                " choose another run_dir"
            )
        model, tokenizers, card = load_model(place)
        _check_same(config, model, tokenizers, card)
        return _completed(config, card), tokenizers
    model, tokenizers, card = _load(config)
    completed = _completed(config, card)
    languages = card.source, card.target, completed.data.source, completed.data.target
    log.info("starting from %s, a model of %s -> %s, for %s -> %s", config.train.init_from, *languages)
    try:
        save_model(place, model, tokenizers, card)
    except (OSError, SafetensorError) as problem:
        raise SystemProblem(
            f"{place}: the first model cannot be copied here: {problem}; make room, and run the same command again"
        ) from problem
    return completed, tokenizers


def _check_same(config: Config, model: Transformer, tokenizers: Tokenizers, card: Card) -> None:
    """Raises UsageError where init_from names another place than when the run began, and another model is there."""
    path = config.directory / "config.toml"
    recorded = config_file.load(path).train.init_from if path.exists() else config.train.init_from
    if config.train.init_from == recorded:
        return
    other, of_other, card_of_other = _load(config)
    ours, theirs = named(model), named(other)
    same = ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)
    if not same or tokenizers_digest(tokenizers) != tokenizers_digest(of_other) or card != card_of_other:
        raise UsageError(
            f"train.init_from = {config.train.init_from}: is another model than {recorded or 'none'}, from which this"
            f" run began (its copy is in {_copy_in(config.directory)}); set it back, or choose another run_dir"
        )


def weights(run: Path, shapes: Transformer) -> dict[str, Array]:
    """Those of the run's copy by name, float32, where the shapes place them on the devices. Raises UsageError."""
    model, _, _ = load_model(_copy_in(run))
    return jax.tree.map(
        lambda value, shape: jax.make_array_from_callback(value.shape, shape.sharding, lambda index: value[index]),
        named(model), named(shapes),
    )  # fmt: skip


def _copy_in(run: Path) -> Path:
    return run / "data" / "initial"


def _load(config: Config) -> tuple[Transformer, Tokenizers, Card]:
    """What `train.init_from` names. Raises UsageError."""
    path = config.train.init_from
    try:
        place = find_model(path)
        if place.resolve().is_relative_to(config.directory.resolve()):
            raise UsageError(f"lies in run_dir = {config.run_dir}, where this training writes; choose another run_dir")
        return load_model(place)
    except UsageError as problem:
        raise UsageError(f"train.init_from = {path}: {problem}") from None


def _completed(config: Config, card: Card) -> Config:
    _check_model(config, card)
    if not has_begun(config.directory):  # or the settings are compared with the record, which has all of them
        _check_tokenizer(config)
    values = config.model_dump()
    given = {
        "data": card.model_dump(include={"source", "target", "max_length"}),
        "model": card.model.model_dump(),
        "decode": card.decode.model_dump(),
        "about": card.about.model_dump(),
    }
    for section, settings in given.items():
        is_set = getattr(config, section).model_fields_set
        values[section] |= {key: value for key, value in settings.items() if key not in is_set}
    try:
        return Config.model_validate(values)
    except ValidationError as problem:
        fault = problem.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"{fault} (with the model of train.init_from = {config.train.init_from})") from None


def _check_model(config: Config, card: Card) -> None:
    """Raises UsageError for a setting of [model] that differs from the model that training starts from."""
    model = f"the model of train.init_from = {config.train.init_from}"
    for key, theirs in card.model.model_dump(exclude=FREE).items():
        ours = getattr(config.model, key)
        if key in config.model.model_fields_set and ours != theirs:
            raise UsageError(f"model.{key} = {ours!r}: is {theirs!r} in {model}; leave it out")


def _check_tokenizer(config: Config) -> None:
    """Raises UsageError for a setting of [tokenizer]: the model that training starts from has its own."""
    model = f"the model of train.init_from = {config.train.init_from}"
    is_set = config.tokenizer.model_fields_set
    of_a_run = config.tokenizer == Tokenizer() and is_set == set(Tokenizer.model_fields)  # RUN/config.toml sets all
    if is_set and not of_a_run:
        key = min(is_set)
        raise UsageError(f"tokenizer.{key} = {getattr(config.tokenizer, key)!r}: {model} has its own; leave it out")
