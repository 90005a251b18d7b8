"""The run directory: held by one process, begun, or taken up again."""

import fcntl
import hashlib
import json
import logging
import os
import platform
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from transformer import config_file
from transformer.checksums import to_disk
from transformer.config import Config, Mesh
from transformer.data.tokenizer import Tokenizers
from transformer.errors import UsageError
from transformer.training.checkpoint import steps_in

log = logging.getLogger(__name__)

# What a setting may do to a run that has begun. A key that is in none of the three is FIXED.
HARMLESS = {  # the run ends with the same model; on another mesh not bit for bit, which is told
    "run_dir", "data.max_left_out", "data.strict", "train.log_every", "train.save_every", "train.keep",
    "mesh.data", "mesh.fsdp", "mesh.tensor",
}  # fmt: skip
CHANGING = {  # it can go on, but not as the run that it was: with --allow-config-change
    "seed", "data.valid", "data.buckets",
    "model.dropout", "model.attention_dropout", "model.compute_dtype", "model.remat",
    "train.steps", "train.batch_tokens", "train.accumulate", "train.learning_rate", "train.schedule",
    "train.warmup_steps", "train.cooldown_steps", "train.adam_b1", "train.adam_b2", "train.adam_epsilon",
    "train.weight_decay", "train.clip_norm", "train.label_smoothing",
    "train.eval_every", "train.best_metric", "train.patience",
    "decode.beam_size", "decode.length_penalty", "decode.stop", "decode.min_length", "decode.max_ratio",
    "decode.max_extra", "decode.batch_tokens",
}  # fmt: skip
FIXED = {  # the weights, the optimizer's state or the ids in RUN/data would not fit
    "data.source", "data.target", "data.train", "data.max_length", "data.max_ratio",
    "tokenizer.models", "tokenizer.kind", "tokenizer.vocab_size", "tokenizer.shared", "tokenizer.byte_fallback",
    "tokenizer.character_coverage", "tokenizer.normalization", "tokenizer.train_lines",
    "model.d_model", "model.d_ff", "model.num_heads", "model.encoder_layers", "model.decoder_layers",
    "model.activation", "model.norm", "model.norm_epsilon", "model.scale_embeddings", "model.output_bias",
    "model.positions", "model.max_positions", "model.tie_embeddings", "train.init_from", "train.ema_decay",
}  # fmt: skip

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "sentencepiece", "sacrebleu")


@contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Makes the run directory, and keeps other trainings out of it. Raises UsageError.

    The lock is the system's: it ends with the process, however that ends.
    """
    if found := re.search(r"[\[\]\\]", str(directory.absolute())):
        raise UsageError(f"run_dir = {directory}: has a {found[0]} in its path, which Orbax takes for something else")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as problem:
        raise UsageError(f"run_dir = {directory}: cannot be made or written: {problem.strerror}") from None
    with open(descriptor, "r+", encoding="utf8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = file.read().strip() or "another process"
            raise UsageError(f"{directory}: in use by {holder}; wait for its end, or choose another run_dir") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def check_settings(config: Config, *, allow_changes: bool) -> None:
    """Raises UsageError where the run directory holds a run that this config cannot continue."""
    path = config.directory / "config.toml"
    if not (path.exists() and has_begun(config.directory)):
        return
    before, now = _flat(config_file.load(path)), _flat(config)
    changed = [key for key in now if before[key] != now[key] and key not in HARMLESS]
    fixed = [key for key in changed if key not in CHANGING]
    if fixed or (changed and not allow_changes):
        told = ", ".join(f"{key}: {before[key]!r} -> {now[key]!r}" for key in fixed or changed)
        way_out = "" if fixed else ", go on with --allow-config-change"
        raise UsageError(
            f"{config.run_dir}: this run has begun with other settings ({told}); set them back{way_out},"
            " or choose another run_dir"
        )


def check_corpora(config: Config, digests: Mapping[str, Mapping[str, str]], *, allow_changes: bool) -> None:
    """Raises UsageError where a run has begun with other content: `digests` has the sha256 by split and corpus."""
    path = config.directory / "data" / "corpora.json"
    if not (path.exists() and has_begun(config.directory)):
        return
    before = json.loads(path.read_text(encoding="utf8"))
    for split in ("train",) if allow_changes else ("train", "valid"):
        for corpus, digest in digests[split].items():
            if before[split].get(corpus, digest) != digest:
                raise UsageError(
                    f"{config.run_dir}: {corpus} has changed since this run began; put it back as it was,"
                    " or choose another run_dir"
                )


def write_run(config: Config, digests: Mapping[str, Mapping[str, str]]) -> None:
    """What the run is made of, for whoever goes on with it: the resolved config, and the sha256 of each corpus."""
    (config.directory / "data").mkdir(exist_ok=True)
    for name, content in (
        ("config.toml", config_file.to_toml(config)),
        ("data/corpora.json", json.dumps(digests, indent=1)),
    ):
        unfinished = config.directory / f"{name}.unfinished"
        unfinished.write_text(content, encoding="utf8")
        to_disk(unfinished)  # so that no crash of the machine leaves the name alone
        os.replace(unfinished, config.directory / name)


def has_begun(directory: Path) -> bool:
    """Whether there is a checkpoint to go on from."""
    return bool(steps_in(directory / "checkpoints"))


def origin(tokenizers: Tokenizers, digests: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What the ids of a run are made of, in a sha256 each; `digests` as for `check_corpora`."""
    corpora = "".join(sorted(digests["train"].values())).encode()
    contents = {"tokenizers": tokenizers.source.identity + tokenizers.target.identity, "training corpora": corpora}
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def check_checkpoint(config: Config, step: int, before: Mapping[str, Any], now: Mapping[str, str]) -> None:
    """Raises UsageError where a checkpoint has another origin than the run, or is beyond its end.

    Whatever became of RUN/data: the weights know their ids.
    """
    for name, content in now.items():
        if before.get(name, content) != content:
            raise UsageError(
                f"{config.run_dir}: the checkpoint of step {step} is of other {name}; put them back as they were,"
                " or choose another run_dir"
            )
    if step > config.train.steps:
        raise UsageError(f"train.steps = {config.train.steps}: {config.run_dir} is at step {step} already; raise it")


def environment(mesh: Mesh) -> dict[str, Any]:
    """On what the bits of a result depend, beside the other settings."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = jax.devices()
    packages = {name: metadata.version(name) for name in PACKAGES}
    return {
        "device": devices[0].device_kind, "devices": len(devices), "mesh": list(mesh.model_dump().values()),
        "cpu threads": threads, "python": platform.python_version(),
    } | packages  # fmt: skip


def tell_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Says so where a run goes on elsewhere than it began."""
    told = ", ".join(f"{key} {before[key]} -> {now[key]}" for key in now if before.get(key, now[key]) != now[key])
    if told:
        log.info("not bit for bit as without a stop: %s", told)


def _flat(config: Config) -> dict[str, Any]:
    """The settings by their dotted keys."""
    found: dict[str, Any] = {}
    for name, value in config.model_dump().items():
        found |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {name: value}
    return found
