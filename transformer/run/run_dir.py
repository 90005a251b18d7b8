"""The run directory: its lock, its checkpoints and metrics, and the records that are compared when a run is resumed.

config.toml         every setting
data/corpora.json   what the corpora contained, by sha256
"""

import json
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from transformer.config import Config, corpus_name, loading
from transformer.data.corpus import Corpus
from transformer.data.prepare import Corpora
from transformer.errors import ResourceError, UsageError
from transformer.evaluation.bleu_tokenizer import DEFAULT, bleu_tokenizer
from transformer.files.atomic import write_file
from transformer.version import package_version, which_version

FORMAT = 2  # of data/corpora.json
COMPRESSED_PREFIX = "packed "  # marks a `Corpus.compressed_digest` in data/corpora.json


@contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Makes the run directory, and locks it, so that no other process trains in it during the `with` block.

    The operating system releases the lock when the process ends, even if it crashes. Raises UsageError if another
    process has the lock or the directory cannot be used, and ResourceError on Windows.
    """
    try:
        import fcntl
    except ImportError:
        raise ResourceError("training needs fcntl, which Windows does not have; train on Linux, macOS or WSL") from None

    if found := re.search(r"[\[\]\\]", str(directory.absolute())):
        raise UsageError(
            f"run_dir = {directory}: its path contains {found[0]}, which Orbax does not support; rename it"
        )
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
            raise UsageError(
                f"{directory}: in use by {holder}; wait until it ends, or choose another run_dir"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def checkpoint_steps(directory: Path) -> list[int]:
    """Returns the steps that have a checkpoint in a directory, in order. A missing directory has none."""
    names = [path.name for path in directory.glob("*") if path.is_dir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and str(int(name)) == name)


def read_metrics(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields each valid and complete line of a metrics.jsonl, parsed and as text. A missing file has no lines."""
    if path.exists():
        for line in path.read_text(encoding="utf8", errors="replace").splitlines(keepends=True):
            with suppress(ValueError, KeyError, TypeError):
                metrics = json.loads(line)
                if line.endswith("\n") and isinstance(metrics["step"], int):
                    yield metrics, line


def has_begun(directory: Path) -> bool:
    """Whether the run directory has a checkpoint to resume from."""
    return bool(checkpoint_steps(directory / "checkpoints"))


def read_recorded(path: Path) -> dict[str, Any]:
    """Reads the settings in RUN/config.toml, by section. Raises UsageError.

    If the record has no train.bleu_tokenizer, an earlier version wrote it, which used 13a for every language. The run
    continues with 13a, so that its scores can be compared.
    """
    values = loading.read(path)
    data, train = values.get("data", {}), values.setdefault("train", {})
    if isinstance(train, dict) and "bleu_tokenizer" not in train and isinstance(data, dict):
        target = data.get("target")
        if isinstance(target, str) and bleu_tokenizer(target) != DEFAULT:
            train["bleu_tokenizer"] = DEFAULT
    return values


# The record of the corpora of a run


class CorpusRecord(NamedTuple):
    """The name and the content of a corpus, as recorded by a run."""

    corpus: str  # its name in the config
    content: str  # its `Corpus.identity`; before format 2, COMPRESSED_PREFIX and its `Corpus.compressed_digest`


class DataRecord(NamedTuple):
    """The content of data/corpora.json."""

    train: list[CorpusRecord]
    valid: list[CorpusRecord]
    valid_of_format_1: list[CorpusRecord]  # the validation corpora when a version with format 1 last trained the run


def read_data_record(directory: Path) -> DataRecord | None:
    """Returns the record that was written when the run was last started, or None if no run has begun.

    Raises UsageError if the record cannot be read.
    """
    path = directory / "data" / "corpora.json"
    if not (path.exists() and has_begun(directory)):
        return None
    try:
        content = json.loads(path.read_text(encoding="utf8"))
        if "format" in content:
            if content["format"] != FORMAT:
                raise UsageError(
                    f"{path}: format {content['format']}, this version reads {FORMAT}; {which_version(content)}"
                )
            train, valid = ([CorpusRecord(**entry) for entry in content[split]] for split in ("train", "valid"))
            old = [CorpusRecord(**entry) for entry in content.get("valid_of_format_1", [])]
            return DataRecord(train, valid, old)
        named = loading.load(directory / "config.toml").data
        names = [list(map(corpus_name, specs)) for specs in (named.train, named.valid)]
        train = [CorpusRecord(name, COMPRESSED_PREFIX + content["train"][name]) for name in names[0]]
        valid = [CorpusRecord(name, COMPRESSED_PREFIX + content["valid"][name]) for name in names[1]]
        return DataRecord(train, valid, valid)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise UsageError(
            f"{path}: not what a run records about its corpora ({problem!r}); remove this file to resume without it"
        ) from None


def same_content(before: CorpusRecord, now: Corpus) -> bool:
    """Whether the given corpus has the same content as the recorded one."""
    return before.content in (now.identity, COMPRESSED_PREFIX + now.compressed_digest)


def same_contents(before: Sequence[CorpusRecord], now: Sequence[Corpus]) -> bool:
    """Whether the given corpora have the same contents as the recorded ones, in the same order."""
    return len(before) == len(now) and all(map(same_content, before, now))


def write_records(config: Config, corpora: Corpora, old_valid: Sequence[CorpusRecord] = ()) -> None:
    """Writes the complete config to RUN/config.toml, and the digest of each corpus to RUN/data/corpora.json.

    `old_valid` is what an earlier version recorded of the validation corpora, for as long as the newest checkpoint is
    of that version (format 1).
    """
    (config.directory / "data").mkdir(exist_ok=True)
    contents = {
        "format": FORMAT,
        "version": package_version(),
        "train": [{"corpus": one.name, "content": one.identity} for one in corpora.train],
        "valid": [{"corpus": one.name, "content": one.identity} for one in corpora.valid],
    }
    if old_valid:
        contents["valid_of_format_1"] = [one._asdict() for one in old_valid]
    write_file(config.directory / "config.toml", to_toml(config))
    write_file(config.directory / "data" / "corpora.json", json.dumps(contents, indent=1) + "\n")


def to_toml(config: Config) -> str:
    """Returns every setting as TOML. `load` reads an equal config from it."""
    lines: list[str] = []
    for name, value in config.model_dump(mode="json").items():
        if isinstance(value, dict):
            lines += ["", f"[{name}]", *(f"{key} = {_toml(item)}" for key, item in value.items())]
        else:
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """Returns a value as TOML. JSON is valid TOML, but for objects and DEL; characters beyond ASCII are not escaped."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {_toml(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
