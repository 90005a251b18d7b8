"""Whether a run can be resumed under a config: what the user sets is compared with what the run recorded.

A setting that neither the config file nor a flag gives keeps the value in RUN/config.toml, so that a default which
changes with a new version stops no run. Corpora, tokenizers and the model of init_from are compared by their content,
so that they may move.
"""

import hashlib
import logging
import os
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformer import config_file
from transformer.config import ALL, Config, expand_home
from transformer.data.prepare import Corpora
from transformer.data.tokenizer import Tokenizers
from transformer.errors import UsageError
from transformer.training.run_dir import DataRecord, has_begun, same_content, same_contents, tokenizers_digest

if TYPE_CHECKING:
    from transformer.training.checkpoint import Checkpoint

log = logging.getLogger(__name__)

# What a changed setting does to a run in progress. A key that is in none of the four is FIXED.
HARMLESS = {  # the run ends with the same model; on another mesh not bit for bit, which is reported
    "run_dir", "data.max_left_out", "data.strict", "train.log_every", "train.save_every", "train.keep",
    "mesh.data", "mesh.fsdp", "mesh.tensor", "about.name", "about.licence", "about.data",
}  # fmt: skip
CHANGING = {  # the run can be resumed with --allow-config-change, but its results will differ
    "seed", "data.buckets",
    "model.dropout", "model.attention_dropout", "model.compute_dtype", "model.remat",
    "train.steps", "train.batch_tokens", "train.accumulate", "train.learning_rate", "train.schedule",
    "train.warmup_steps", "train.cooldown_steps", "train.adam_b1", "train.adam_b2", "train.adam_epsilon",
    "train.weight_decay", "train.clip_norm", "train.label_smoothing",
    "train.eval_every", "train.best_metric", "train.best_corpus", "train.patience",
    "decode.beam_size", "decode.length_penalty", "decode.stop", "decode.min_length", "decode.max_ratio",
    "decode.max_extra", "decode.batch_tokens",
}  # fmt: skip
BY_CONTENT = {  # names of files: what they contain is compared instead
    "data.train", "data.valid", "tokenizer.models", "train.init_from",
}  # fmt: skip
FIXED = {  # the weights, the optimizer's state or the ids in RUN/data would not fit
    "data.source", "data.target", "data.max_length", "data.max_ratio",
    "tokenizer.kind", "tokenizer.vocab_size", "tokenizer.shared", "tokenizer.byte_fallback",
    "tokenizer.character_coverage", "tokenizer.normalization", "tokenizer.train_lines",
    "model.d_model", "model.d_ff", "model.num_heads", "model.encoder_layers", "model.decoder_layers",
    "model.activation", "model.norm", "model.norm_epsilon", "model.scale_embeddings", "model.output_bias",
    "model.positions", "model.max_positions", "model.tie_embeddings", "train.ema_decay",
}  # fmt: skip


def load_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """The config of a training: the file at `path`, dotted keys over it, and what a run in its directory recorded.

    Raises UsageError, also where the file lies in a run directory that has been moved or copied from run_dir.
    """
    given = config_file.read(path, overrides)
    directory = _directory(given)
    if "run_dir" not in (overrides or {}):
        _refuse_moved(Path(path), directory)
    return config_file.resolve(_with_recorded(given, directory), path)


def resumed(config: Config) -> Config:
    """The config, with the recorded value for each setting that was not set. Raises UsageError."""
    given = config.model_dump(exclude_unset=True)
    return config_file.resolve(_with_recorded(given, config.directory), config.directory / "config.toml")


def _directory(given: Mapping[str, Any]) -> Path | None:
    run_dir = given.get("run_dir")
    try:
        return Path(expand_home(run_dir)) if isinstance(run_dir, str) and run_dir and "\0" not in run_dir else None
    except ValueError:  # reported when the values are checked
        return None


def _with_recorded(given: Mapping[str, Any], directory: Path | None) -> dict[str, Any]:
    """The given values, by section, over those that a run in the directory recorded, if one has begun there."""
    path = directory / "config.toml" if directory is not None else Path()
    if directory is None or not has_begun(directory) or not path.exists():
        return dict(given)
    recorded = config_file.read(path)
    config = config_file.resolve(recorded, path)
    before, default = _flat(config), _flat(Config.model_construct())
    of_a_model = ("data.", "model.", "decode.", "about.") if before["train.init_from"] else ()
    kept = [
        f"{key} = {value!r}"
        for key, value in before.items()
        if value != default[key] and not _is_given(given, key) and not key.startswith(of_a_model)
    ]
    if kept:
        log.info("not set in the config, so kept as recorded in %s: %s", path, ", ".join(kept))
    return _merged(recorded, _best_corpus_moved(config, given))


def _merged(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded values, by section, with those that are given in their place."""
    both = dict(recorded)
    for name, value in given.items():
        section = both.get(name)
        both[name] = {**section, **value} if isinstance(section, Mapping) and isinstance(value, Mapping) else value
    return both


def _best_corpus_moved(recorded: Config, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The given values; if data.valid is given and train.best_corpus is not, the recorded one under its new name."""
    if not _is_given(given, "data.valid") or _is_given(given, "train.best_corpus"):
        return given
    before, now, best = recorded.data.valid, given["data"]["valid"], recorded.train.best_corpus
    if best not in before or not isinstance(now, list | tuple) or len(now) != len(before):
        return given
    return _merged(given, {"train": {"best_corpus": now[before.index(best)]}})


def _is_given(given: Mapping[str, Any], key: str) -> bool:
    section, _, name = key.rpartition(".")
    part = given.get(section, {}) if section else given
    return isinstance(part, Mapping) and name in part


def _refuse_moved(path: Path, directory: Path | None) -> None:
    """Raises UsageError if the run directory was moved or copied: run_dir would start a new run elsewhere."""
    here = path.resolve().parent
    is_run = (here / "data" / "corpora.json").exists() or any(here.glob("checkpoints/*/manifest.json"))
    if directory is None or not is_run or directory.resolve() == here:
        return
    try:
        recorded = tomllib.loads((here / "config.toml").read_text(encoding="utf8"))["run_dir"]
        was_here = Path(expand_home(recorded)).resolve() == directory.resolve()
    except (OSError, ValueError, KeyError, TypeError):
        was_here = False
    if was_here:
        is_near = here.is_relative_to(Path.cwd())
        new, old = shlex.quote(os.path.relpath(here) if is_near else str(here)), shlex.quote(str(directory))
        raise UsageError(
            f"{path}: run_dir = {str(directory)!r}, but this run has been moved or copied to {new}; to resume it there,"
            f" add --run-dir {new}; to train in {old}, add --run-dir {old}"
        )


def check_settings(config: Config, *, allow_changes: bool) -> None:
    """Raises UsageError where the run directory holds a run that this config cannot continue."""
    path = config.directory / "config.toml"
    if not has_begun(config.directory):
        return
    if not path.exists():
        if allow_changes:
            return
        raise UsageError(
            f"{path}: is missing, so that nothing shows whether this run started with these settings; put it back, or"
            " resume with --allow-config-change"
        )
    recorded = config_file.load(path)
    before, now = _flat(recorded) | _best_by_place(recorded), _flat(config) | _best_by_place(config)
    changed = [key for key in now if before[key] != now[key] and key not in HARMLESS | BY_CONTENT]
    changed += [key for key in ("train.init_from", "tokenizer.models") if before[key] and not now[key]]
    fixed = [key for key in changed if key not in CHANGING]
    if fixed or (changed and not allow_changes):
        told = ", ".join(f"{key}: {before[key]!r} -> {now[key]!r}" for key in fixed or changed)
        way_out = "" if fixed else ", resume with --allow-config-change"
        raise UsageError(
            f"{config.run_dir}: this run started with other settings ({told}); set them back{way_out},"
            " or choose another run_dir"
        )


def check_corpora(config: Config, before: DataRecord | None, now: Corpora, *, allow_changes: bool) -> None:
    """Raises UsageError if a run started with corpora of another content, or in another order."""
    if before is None:
        return
    for split, recorded, corpora in (("train", before.train, now.train), ("valid", before.valid, now.valid)):
        if same_contents(recorded, corpora) or (split == "valid" and allow_changes):
            continue
        were, are = [one.corpus for one in recorded], [one.name for one in corpora]
        if len(were) == len(are) and all(any(same_content(old, one) for one in corpora) for old in recorded):
            fault = f"data.{split} lists the corpora in another order than {were}"
        elif were == are:
            other = next(one.name for one, old in zip(corpora, recorded, strict=True) if not same_content(old, one))
            fault = f"the content of {other} has changed since this run started"
        else:
            fault = f"data.{split} = {are} has another content than {were}, which this run started with"
        way_out = ", resume with --allow-config-change" if split == "valid" else ""
        raise UsageError(f"{config.run_dir}: {fault}; restore the original corpora{way_out}, or choose another run_dir")


# Each checkpoint stores digests of its corpora and tokenizers, so this check works even if RUN/data is lost


def origin(corpora: Corpora, tokenizers: Tokenizers | None) -> dict[str, str]:
    """Identifies what the ids of a run were made from, by sha256; without the tokenizers if they are not known yet."""
    contents = "\n".join(one.identity for one in corpora.train)
    found = {"training corpora": hashlib.sha256(contents.encode()).hexdigest()}
    return found if tokenizers is None else found | {"tokenizers": tokenizers_digest(tokenizers)}


def check_checkpoint(
    config: Config, checkpoint: "Checkpoint | None", corpora: Corpora, tokenizers: Tokenizers | None
) -> None:
    """Raises UsageError if the checkpoint belongs to other corpora or tokenizers, or is beyond the end of the run."""
    if checkpoint is None:
        return
    accepted = {name: {content} for name, content in origin(corpora, tokenizers).items()}
    if checkpoint.format == 1:
        accepted["training corpora"] = _old_origins(corpora)
    for name, contents in accepted.items():
        if checkpoint.origin.get(name) not in (None, *contents):
            raise UsageError(
                f"{config.run_dir}: the checkpoint of step {checkpoint.step} belongs to other {name}; put back those it"
                " was trained with, or choose another run_dir"
            )
    if checkpoint.step > config.train.steps:
        raise UsageError(
            f"train.steps = {config.train.steps}: {config.run_dir} is at step {checkpoint.step} already; raise it"
        )


def _old_origins(corpora: Corpora) -> set[str]:
    """The values that checkpoints of format 1 may record for these corpora: sorted, a repeated corpus possibly once."""
    digests = [one.compressed_digest for one in corpora.train]
    return {hashlib.sha256("".join(sorted(each)).encode()).hexdigest() for each in (digests, set(digests))}


def _flat(config: Config) -> dict[str, Any]:
    """The settings by their dotted keys."""
    found: dict[str, Any] = {}
    for name, value in config.model_dump().items():
        found |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {name: value}
    return found


def _best_by_place(config: Config) -> dict[str, Any]:
    """train.best_corpus with the place of a corpus among several instead of its name, which may change."""
    best, corpora = config.train.best_corpus, config.data.valid
    if len(corpora) < 2:
        return {"train.best_corpus": ALL}
    return {"train.best_corpus": f"number {corpora.index(best) + 1} of data.valid" if best in corpora else best}
