"""The run directory: its lock, and the record that resuming compares with.

config.toml         every setting
data/corpora.json   what the corpora and the tokenizers contained, by sha256
environment.json    versions, devices and threads (environment.py)
"""

import fcntl
import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from transformer import config_file
from transformer.checksums import to_disk
from transformer.config import Config
from transformer.data.corpus import Corpus
from transformer.data.prepare import Corpora
from transformer.data.tokenizer import Tokenizers
from transformer.errors import UsageError

FORMAT = 2  # of data/corpora.json
COMPRESSED = "packed "


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


def steps_in(directory: Path) -> list[int]:
    """The steps that have a checkpoint in the directory, in order; none where there is no directory."""
    names = [path.name for path in directory.glob("*") if path.is_dir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and str(int(name)) == name)


def has_begun(directory: Path) -> bool:
    """Whether the run directory has a checkpoint to resume from."""
    return bool(steps_in(directory / "checkpoints"))


# What the corpora and tokenizers of a run contain


class CorpusRecord(NamedTuple):
    """A corpus as a run recorded it."""

    corpus: str  # as the config named it
    content: str  # its `Corpus.identity`; before format 2 COMPRESSED and its `Corpus.compressed_digest`


class DataRecord(NamedTuple):
    """The content of data/corpora.json."""

    train: list[CorpusRecord]
    valid: list[CorpusRecord]
    tokenizers: str
    """sha256; "": not recorded, by a version before format 2"""
    valid_of_format_1: list[CorpusRecord]
    """the validation corpora when the run was last trained by such a version"""


def read_data_record(directory: Path) -> DataRecord | None:
    """The record from when the run was last started; None if no run has begun."""
    path = directory / "data" / "corpora.json"
    if not (path.exists() and has_begun(directory)):
        return None
    try:
        content = json.loads(path.read_text(encoding="utf8"))
        if "format" in content:
            if content["format"] != FORMAT:
                raise UsageError(f"{path}: format {content['format']}, this version reads up to {FORMAT}; update it")
            train, valid = ([CorpusRecord(**entry) for entry in content[split]] for split in ("train", "valid"))
            old = [CorpusRecord(**entry) for entry in content.get("valid_of_format_1", [])]
            return DataRecord(train, valid, content["tokenizers"], old)
        named = config_file.load(directory / "config.toml").data
        train = [CorpusRecord(corpus, COMPRESSED + content["train"][corpus]) for corpus in named.train]
        valid = [CorpusRecord(corpus, COMPRESSED + content["valid"][corpus]) for corpus in named.valid]
        return DataRecord(train, valid, "", valid)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise UsageError(
            f"{path}: not what a run records about its corpora ({problem!r}); remove this file to resume without it"
        ) from None


def same_content(before: CorpusRecord, now: Corpus) -> bool:
    """Whether a recorded corpus has the content of this one."""
    return before.content in (now.identity, COMPRESSED + now.compressed_digest)


def same_contents(before: Sequence[CorpusRecord], now: Sequence[Corpus]) -> bool:
    """Whether the recorded corpora have the content of these, in their order."""
    return len(before) == len(now) and all(map(same_content, before, now))


def tokenizers_digest(tokenizers: Tokenizers) -> str:
    """sha256 of all on which the ids of a text depend."""
    return hashlib.sha256(tokenizers.source.identity + tokenizers.target.identity).hexdigest()


def write_run(config: Config, corpora: Corpora, tokenizers: Tokenizers, old_valid: Sequence[CorpusRecord] = ()) -> None:
    """Records what the run is made of: the resolved config, and the content of each corpus and of the tokenizers.

    `old_valid` is kept as `DataRecord.valid_of_format_1`, as long as the newest checkpoint is of format 1.
    """
    (config.directory / "data").mkdir(exist_ok=True)
    contents = {
        "format": FORMAT,
        "train": [{"corpus": one.name, "content": one.identity} for one in corpora.train],
        "valid": [{"corpus": one.name, "content": one.identity} for one in corpora.valid],
        "tokenizers": tokenizers_digest(tokenizers),
        **({"valid_of_format_1": [one._asdict() for one in old_valid]} if old_valid else {}),
    }
    write_atomically(config.directory / "config.toml", config_file.to_toml(config))
    write_atomically(config.directory / "data" / "corpora.json", json.dumps(contents, indent=1) + "\n")


def write_atomically(path: Path, content: str) -> None:
    """Writes a file so that, whenever the process or the machine stops, its name has the old content or the new."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(content, encoding="utf8")
    to_disk(unfinished)
    os.replace(unfinished, path)
