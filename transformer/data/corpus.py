"""Parallel corpora: text files, tables, Hugging Face datasets, and the built-in one; read again and again, streaming.

A corpus gives all its pairs as they are. Bytes that are not UTF-8 come as lone surrogates (Python's "surrogateescape"),
which valid text never holds, so that `clean` can leave such pairs out and count them.
"""

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import starmap
from pathlib import Path
from typing import BinaryIO, NamedTuple

from transformer.data.lines import count_lines, open_bytes, read_blocks, refuse_utf16
from transformer.data.texts import read_jsonl, read_tsv, read_two_files
from transformer.errors import DataError, UsageError

LINES_SHOWN = 5  # of each reason, in a summary
LONGEST_TEXT = 1_000_000  # bytes
BUILTIN_COUNTS = {"train": 30_000, "valid": 500, "test": 500}
BUILTIN_LANGUAGES = ("en", "de")

# C0 and C1 but for what is white space: tab, and all that some program takes for a line's end.
_CONTROL = re.compile("[\x01-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")


class Pair(NamedTuple):
    source: str
    target: str


@dataclass(frozen=True)
class Corpus:
    """Pairs that can be iterated any number of times. Raises DataError where a pair cannot be read."""

    name: str
    """the spec it was opened by"""
    read: Callable[[], Iterator[Pair]]
    files: tuple[Path, ...] = ()
    """what it is read from; none: a dataset, or made on the spot"""
    languages: tuple[str, ...] = ()  # of a table: which of its texts are read

    def __iter__(self) -> Iterator[Pair]:
        return self.read()

    @cached_property
    def digest(self) -> str:
        """sha256 of the content as first read: of the decompressed bytes of the files, or of the pairs without files.

        It does not depend on the names of the files, nor on whether they are compressed.
        """
        return self._digest(open_bytes)

    @cached_property
    def compressed_digest(self) -> str:
        """Like `digest`, but of the compressed bytes of a .gz file. Runs recorded this before format 2."""
        return self._digest(lambda path: open(path, "rb")) if any(map(_is_gzip, self.files)) else self.digest

    def _digest(self, open_file: Callable[[Path], BinaryIO]) -> str:
        digest = hashlib.sha256()
        if not self.files:
            for pair in self:
                digest.update(repr(tuple(pair)).encode())  # ASCII escapes: distinct pairs cannot run together
        for path in self.files:
            with open_file(path) as stream:
                content = hashlib.sha256()
                for block in read_blocks(stream):
                    content.update(block)
            digest.update(content.digest())
        return digest.hexdigest()

    @property
    def identity(self) -> str:
        """Identifies the pairs: the digest of the content, and the columns that are read."""
        return " ".join((self.digest, *self.languages))


def _is_gzip(path: Path) -> bool:
    return path.suffix == ".gz"


def open_corpora(specs: Iterable[str], source: str, target: str, split: str) -> list[Corpus]:
    """Every corpus named; see `open_corpus`."""
    return [open_corpus(spec, source, target, split) for spec in specs]


def open_corpus(spec: str, source: str, target: str, split: str) -> Corpus:
    """The corpus that `spec` names, checked as far as that is possible without reading it all.

    `spec` is PREFIX (PREFIX.en + PREFIX.de), FILE.tsv, FILE.jsonl (all three plain or .gz), FILE.parquet,
    hf:NAME[:CONFIG]:SPLIT or builtin:clauses[:SPLIT[:COUNT]]. `source` and `target` are language codes: the suffixes of
    the files, or the keys of the table. `split` ("train", "valid" or "test") counts where a built-in corpus names none.

    Raises DataError for files that are missing, do not fit together or are UTF-16, UsageError for a spec that cannot
    be meant.
    """
    if spec.startswith("builtin:"):
        return _open_builtin(spec, source, target, split)
    if spec.startswith("hf:") or spec.endswith(".parquet"):
        return _open_table(spec, source, target)
    if spec.endswith((".tsv", ".tsv.gz")):
        refuse_utf16(spec)
        return Corpus(spec, lambda: starmap(Pair, read_tsv(Path(spec))), (Path(spec),))
    if spec.endswith((".jsonl", ".jsonl.gz")):
        refuse_utf16(spec)
        read = partial(read_jsonl, Path(spec), source, target)
        return Corpus(spec, lambda: starmap(Pair, read()), (Path(spec),), (source, target))
    return replace(open_pairs(_side(spec, source), _side(spec, target)), name=spec)


# Text files


def open_pairs(source: str | Path, target: str | Path) -> Corpus:
    """Two files that are parallel line for line, plain or .gz. Raises DataError where they are not."""
    files = (Path(source), Path(target))
    for path in files:
        refuse_utf16(path)
    lines = [count_lines(path) for path in files]
    if lines[0] != lines[1]:
        raise DataError(
            f"{files[0]} has {lines[0]} lines, {files[1]} has {lines[1]}: a corpus needs line for line the same count"
        )
    return Corpus(f"{source} and {target}", lambda: starmap(Pair, read_two_files(*files)), files)


def _side(prefix: str, language: str) -> Path:
    plain, packed = Path(f"{prefix}.{language}"), Path(f"{prefix}.{language}.gz")
    for path in (plain, packed):
        if os.path.exists(path):  # Path.exists raises where a folder may not be entered
            return path
    if os.path.isdir(prefix):
        raise DataError(f"{prefix}: is a directory; name the files in it up to the language, as in {prefix}/train")
    if os.path.isfile(prefix):
        raise DataError(f"{prefix}: is one file; name both up to the language (PREFIX), or a .tsv, .jsonl or .parquet")
    raise DataError(f"{plain}: no such file, and no {packed.name}; the corpus {prefix} needs a file a language")


# Tables, and the built-in corpus


def _open_table(spec: str, source: str, target: str) -> Corpus:
    from transformer.data.tables import open_dataset, open_parquet  # here, as it imports much that is seldom used

    of_dataset = spec.startswith("hf:")
    read = (open_dataset if of_dataset else open_parquet)(spec, source, target)
    return Corpus(spec, lambda: starmap(Pair, read()), () if of_dataset else (Path(spec),), (source, target))


def _open_builtin(spec: str, source: str, target: str, split: str) -> Corpus:
    name, *given = spec.removeprefix("builtin:").split(":")
    split = given[0] if given else split
    if name != "clauses" or len(given) > 2:
        raise UsageError(f"{spec}: the only built-in corpus is builtin:clauses[:SPLIT[:COUNT]]")
    if split not in BUILTIN_COUNTS:
        raise UsageError(f"{spec}: no split {split!r}; there are {', '.join(BUILTIN_COUNTS)}")
    if {source, target} != set(BUILTIN_LANGUAGES):
        raise UsageError(f"{spec}: is between {' and '.join(BUILTIN_LANGUAGES)}, not from {source} to {target}")
    count = given[1] if len(given) == 2 else str(BUILTIN_COUNTS[split])
    if not (count.isascii() and count.isdigit() and int(count)):
        raise UsageError(f"{spec}: {count!r} is no count of pairs")
    return Corpus(spec, partial(_read_builtin, spec, split, int(count), source != BUILTIN_LANGUAGES[0]))


def _read_builtin(spec: str, split: str, count: int, reverse: bool) -> Iterator[Pair]:
    from transformer.data.clauses import clauses

    try:
        for english, german in clauses(split, count):
            yield Pair(german, english) if reverse else Pair(english, german)
    except ValueError as problem:
        raise UsageError(f"{spec}: {problem}") from None


# What is left out


@dataclass
class Report:
    """How many pairs were read, and how many were left out for which reason."""

    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    lines: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """of each reason, the first lines"""

    @property
    def kept(self) -> int:
        return self.read - self.left_out.total()

    def leave_out(self, reason: str, line: int | None = None) -> None:
        self.left_out[reason] += 1
        if line is not None and len(self.lines[reason]) < LINES_SHOWN:
            self.lines[reason].append(line)

    def summary(self) -> str:
        """As in `kept 28,990 of 29,000 pairs; left out: 6 empty source (lines 3, 5, 8, 13, 21, ...), 4 ...`."""
        kept = f"kept {self.kept:,} of {self.read:,} pairs"
        reasons = [f"{count:,} {reason}{self._places(reason)}" for reason, count in self.left_out.most_common()]
        return f"{kept}; left out: {', '.join(reasons)}" if reasons else kept

    def _places(self, reason: str) -> str:
        lines = [str(line) for line in self.lines.get(reason, ())]
        more = ["..."] if len(lines) < self.left_out[reason] else []
        return f" ({'line' if len(lines) == 1 and not more else 'lines'} {', '.join(lines + more)})" if lines else ""


class Outcome(NamedTuple):
    """What became of a corpus, fit for a manifest."""

    name: str
    read: int
    kept: int
    summary: str
    warning: str = ""

    def check(self, max_left_out: float, setting: str = "data.max_left_out") -> None:
        """Raises DataError where nothing is left, or more than the share `max_left_out` (of `setting`) is left out."""
        if not self.kept:
            raise DataError(f"{self.name}: no pair of sentences is left to use; {self.summary}{self._hint}")
        left_out = (self.read - self.kept) / self.read
        if left_out > max_left_out:
            raise DataError(
                f"{self.name}: {self.summary}; that is {left_out:.1%}, more than {setting} = {max_left_out:g}:"
                f" fix the corpus, or raise the setting{self._hint}"
            )

    @property
    def _hint(self) -> str:
        """Advice for a corpus that seems to be in another encoding."""
        if re.search(r"left out: [\d,]+ (with NUL|invalid UTF-8)", self.summary):
            return " (is it in another encoding than UTF-8? iconv -f ENCODING -t UTF-8 converts it)"
        return ""


def clean(pairs: Iterable[Pair], report: Report) -> Iterator[Pair]:
    """The pairs that can be used, without white space around their texts; the others are counted in the report.

    Left out is what is not UTF-8, holds a NUL or another control character, is longer than LONGEST_TEXT or empty.
    """
    return (pair for _, pair in clean_lines(pairs, report))


def clean_lines(pairs: Iterable[Pair], report: Report) -> Iterator[tuple[int, Pair]]:
    """The pairs as `clean` gives them, each with the number of its line, from 1."""
    for line, (source, target) in enumerate(pairs, report.read + 1):
        report.read = line
        pair = Pair(source.strip(), target.strip())
        if reason := _unfit(source) or _unfit(target):
            report.leave_out(reason, line)
        elif not pair.source:
            report.leave_out("empty source", line)
        elif not pair.target:
            report.leave_out("empty target", line)
        else:
            yield line, pair


def _unfit(text: str) -> str:
    """Why a text is left out before it is looked at further; nothing if it is not."""
    if 4 * len(text) > LONGEST_TEXT and len(text.encode("utf-8", "surrogatepass")) > LONGEST_TEXT:
        return f"longer than {LONGEST_TEXT:,} bytes"
    if text.isprintable():  # no character that is looked for below is printable, and most texts are
        return ""
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return "invalid UTF-8"
    if "\0" in text:
        return "with NUL"
    return "with control characters" if _CONTROL.search(text) else ""
