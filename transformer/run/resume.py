"""Checks whether a run can be resumed with a config, by comparing the given settings with the recorded ones.

If a setting is neither in the config file nor given by a flag, the value in RUN/config.toml is used. So a new version
of this package can resume the run even if a default has changed. Corpora, tokenizers and the model of init_from are
compared by content, so their files can be moved or renamed. The annotation of each setting states the effect of
changing it (`Effect` in config/section.py).
"""

import hashlib
import logging
import os
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformer.config import Config, corpus_name, loading
from transformer.config.section import BY_CONTENT, CHANGES_RESULT, HARMLESS, expand_home
from transformer.config.train import ALL, MEAN
from transformer.data.corpus import Corpus
from transformer.data.prepare import Corpora
from transformer.data.tokenizer import Tokenizers
from transformer.errors import UsageError
from transformer.evaluation.bleu_tokenizer import DEFAULT, bleu_tokenizer
from transformer.run.run_dir import DataRecord, has_begun, read_recorded, same_content, same_contents

if TYPE_CHECKING:
    from transformer.run.checkpoints import Checkpoint

log = logging.getLogger(__name__)

EFFECTS = {setting.key: setting.effect for setting in loading.settings()}


def load_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Loads the config of a run from the file at `path`, the dotted keys in `overrides`, and RUN/config.toml.

    `overrides` take precedence over the file, and the file over RUN/config.toml. Raises UsageError if the config is not
    valid, or if the file is in a run directory that has been moved or copied: run_dir then names another place.
    """
    given = loading.read(path, overrides)
    directory = _directory(given)
    if "run_dir" not in (overrides or {}):
        _refuse_moved(Path(path), directory)
    return loading.resolve(_with_recorded(given, directory), path)


def with_record(config: Config) -> Config:
    """Returns the config with the recorded value for each setting that was not given.

    Raises UsageError if the result is not valid.
    """
    given = config.model_dump(exclude_unset=True)
    return loading.resolve(_with_recorded(given, config.directory), config.directory / "config.toml")


def _directory(given: Mapping[str, Any]) -> Path | None:
    run_dir = given.get("run_dir")
    try:
        return Path(expand_home(run_dir)) if isinstance(run_dir, str) and run_dir and "\0" not in run_dir else None
    except ValueError:  # `loading.resolve` reports the error
        return None


def _with_recorded(given: Mapping[str, Any], directory: Path | None) -> dict[str, Any]:
    """Returns the given values. If a run has begun in the directory, adds its recorded values of the other keys."""
    if directory is None or not has_begun(directory) or not (path := directory / "config.toml").exists():
        return dict(given)
    recorded = read_recorded(path)
    config = loading.resolve(recorded, path)
    before, default = (_flat(each.model_dump()) for each in (config, Config.model_construct()))
    given_flat = _flat(given)
    # With init_from, these sections come from the model, so the config does not need to give them.
    of_model = ("data.", "model.", "decode.", "about.") if before["train.init_from"] else ()
    kept = [
        f"{key} = {value!r}"
        for key, value in before.items()
        if value != default[key] and key not in given_flat and not key.startswith(of_model)
    ]
    if kept:
        log.info("not given, so the recorded values of %s are used: %s", path, ", ".join(kept))
    return _merged(recorded, _with_renamed_best_corpus(config, given))


def _merged(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Merges two configs, section by section; a given value takes precedence over a recorded one."""
    both = dict(recorded)
    for name, value in given.items():
        section = both.get(name)
        both[name] = {**section, **value} if isinstance(section, Mapping) and isinstance(value, Mapping) else value
    return both


def _with_renamed_best_corpus(recorded: Config, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the given values. Adds train.best_corpus if the corpus that the run has recorded may have a new name.

    It is added if it is not given, the recorded one names a corpus, and data.valid is given with as many corpora as
    recorded. The added value is the corpus at the same position in the given data.valid.
    """
    flat, best = _flat(given), recorded.train.best_corpus
    before = list(map(corpus_name, recorded.data.valid))
    now = flat.get("data.valid")
    may_be_renamed = isinstance(now, list | tuple) and len(now) == len(before) and best in before
    if "train.best_corpus" in flat or not may_be_renamed:
        return given
    return _merged(given, {"train": {"best_corpus": corpus_name(now[before.index(best)])}})


def _refuse_moved(path: Path, directory: Path | None) -> None:
    """Raises UsageError if `path` is in a run directory that was moved or copied: a new run would start in run_dir."""
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
    """Raises UsageError if the run directory has a run that cannot be resumed with this config."""
    path = config.directory / "config.toml"
    if not has_begun(config.directory) or (allow_changes and not path.exists()):
        return
    if not path.exists():
        raise UsageError(
            f"{path}: is missing, so the settings that this run started with are unknown; put it back, or resume with"
            " --allow-config-change"
        )
    recorded = loading.resolve(read_recorded(path), path)
    before, now = (_flat(each.model_dump()) | _comparable(each) for each in (recorded, config))
    changed = [key for key in now if before[key] != now[key] and EFFECTS[key] not in (HARMLESS, BY_CONTENT)]
    changed += [key for key in ("train.init_from", "tokenizer.models") if before[key] and not now[key]]
    fixed = [key for key in changed if EFFECTS[key] is not CHANGES_RESULT]
    if fixed or (changed and not allow_changes):
        changes = ", ".join(f"{key}: {before[key]!r} -> {now[key]!r}" for key in fixed or changed)
        remedy = "" if fixed else ", resume with --allow-config-change"
        raise UsageError(
            f"{config.run_dir}: this run started with other settings ({changes}); set them back{remedy},"
            " or choose another run_dir"
        )


def check_corpora(config: Config, before: DataRecord | None, now: Corpora, *, allow_changes: bool) -> None:
    """Raises UsageError if the run started with corpora of other contents, or in another order.

    With `allow_changes`, the validation corpora may differ.
    """
    if before is None:
        return
    for split, recorded, corpora in (("train", before.train, now.train), ("valid", before.valid, now.valid)):
        if same_contents(recorded, corpora) or (split == "valid" and allow_changes):
            continue
        were, are = [one.corpus for one in recorded], [one.name for one in corpora]
        if len(were) == len(are) and all(any(same_content(old, one) for one in corpora) for old in recorded):
            fault = f"data.{split} lists the corpora in another order than {were}"
        elif were == are:
            other, old = next(
                pair for pair in zip(corpora, recorded, strict=True) if not same_content(pair[1], pair[0])
            )
            changed = "choice of columns" if old.content.split(" ")[0] == other.digest else "content"
            fault = f"the {changed} of {other.name} has changed since this run started"
        else:
            fault = f"data.{split} = {are} has another content than {were}, which this run started with"
        remedy = ", resume with --allow-config-change" if split == "valid" else ""
        raise UsageError(f"{config.run_dir}: {fault}; restore the original corpora{remedy}, or choose another run_dir")


def origin(corpora: Corpora, tokenizers: Tokenizers | None) -> dict[str, str]:
    """Returns the sha256 of the training corpora, and of the tokenizers if they are known, which determine the ids.

    Each checkpoint stores both, so that they can be checked even if RUN/data is lost.
    """
    digests = {"training corpora": _digest(corpora.train)}
    return digests if tokenizers is None else digests | {"tokenizers": tokenizers.digest}


def check_checkpoint(
    config: Config, checkpoint: "Checkpoint | None", corpora: Corpora, tokenizers: Tokenizers | None
) -> None:
    """Raises UsageError if the checkpoint belongs to other corpora or tokenizers, or if it is beyond train.steps."""
    if checkpoint is None:
        return
    accepted = {name: {content} for name, content in origin(corpora, tokenizers).items()}
    if checkpoint.format == 1:
        # Format 1 sorted the digests, and may have stored the digest of a repeated corpus only once.
        digests = [one.compressed_digest for one in corpora.train]
        origins = ("".join(sorted(each)) for each in (digests, set(digests)))
        accepted["training corpora"] = {hashlib.sha256(each.encode()).hexdigest() for each in origins}
    for name, contents in accepted.items():
        if checkpoint.origin.get(name) not in (None, *contents):
            raise UsageError(
                f"{config.run_dir}: the checkpoint of step {checkpoint.step} belongs to other {name}; put back those"
                " that it was trained with, or choose another run_dir"
            )
    if checkpoint.step > config.train.steps:
        raise UsageError(
            f"train.steps = {config.train.steps}: {config.run_dir} is at step {checkpoint.step} already; raise it"
        )


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a config by their dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, Mapping) else {name: value}
    return flat


def _comparable(config: Config) -> dict[str, Any]:
    """Returns the settings of which different values may mean the same, as values that are equal only if they do.

    train.bleu_tokenizer is the tokenizer that is used. train.best_corpus is a corpus by its position in data.valid,
    because its name may change.
    """
    best, corpora = config.train.best_corpus, list(map(corpus_name, config.data.valid))
    place = f"number {corpora.index(best) + 1} of data.valid" if best in corpora else best
    return {
        "train.bleu_tokenizer": bleu_tokenizer(config.data.target, config.train.bleu_tokenizer),
        "train.best_corpus": place if len(corpora) > 1 else ALL,
    }


def measure(config: Config, corpora: Sequence[Corpus]) -> str:
    """Returns a string that identifies the metric and the corpora by which the best model is chosen.

    The scores of two models can be compared only if these strings are equal.
    """
    best, names = config.train.best_corpus, list(map(corpus_name, config.data.valid))
    decisive = corpora[names.index(best) :][:1] if best in names else corpora
    how = MEAN if best == MEAN and len(corpora) > 1 else ALL
    metric, tokenizer = config.train.best_metric, bleu_tokenizer(config.data.target, config.train.bleu_tokenizer)
    if metric == "bleu" and tokenizer != DEFAULT:  # earlier versions used that tokenizer, and did not name it
        metric = f"bleu:{tokenizer}"
    return f"{metric} of {how} {_digest(decisive)}"


def _digest(corpora: Sequence[Corpus]) -> str:
    """Returns the sha256 of the contents of the corpora, in the given order."""
    return hashlib.sha256("\n".join(corpus.identity for corpus in corpora).encode()).hexdigest()
