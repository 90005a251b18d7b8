"""builtin:clauses[:SPLIT[:COUNT]]: English-German sentences that are generated (data/clauses)."""

from collections.abc import Iterator
from functools import partial

from transformer.data.corpus import Columns, Corpus, Pair
from transformer.errors import UsageError

COUNTS = {"train": 30_000, "valid": 500, "test": 500}
LANGUAGES = ("en", "de")


def open_builtin(spec: str, columns: Columns, split: str) -> Corpus:
    """Opens the corpus, in either direction. Raises UsageError if the spec or the languages are invalid."""
    source, target = columns[:2]
    name, *given = spec.removeprefix("builtin:").split(":")
    split = given[0] if given else split
    if name != "clauses" or len(given) > 2:
        raise UsageError(f"{spec}: the only built-in corpus is builtin:clauses[:SPLIT[:COUNT]]")
    if split not in COUNTS:
        raise UsageError(f"{spec}: no split {split!r}; there are {', '.join(COUNTS)}")
    if {source, target} != set(LANGUAGES):
        raise UsageError(f"{spec}: is between {' and '.join(LANGUAGES)}, not from {source} to {target}")
    count = given[1] if len(given) == 2 else str(COUNTS[split])
    if not (count.isascii() and count.isdigit() and int(count)):
        raise UsageError(f"{spec}: {count!r} is not a number of pairs; write one of at least 1")
    return Corpus(spec, partial(_read, spec, split, int(count), source != LANGUAGES[0]))


def _read(spec: str, split: str, count: int, reverse: bool) -> Iterator[Pair]:
    from transformer.data.clauses import clauses

    try:
        for english, german in clauses(split, count):
            yield Pair(german, english) if reverse else Pair(english, german)
    except ValueError as problem:
        raise UsageError(f"{spec}: {problem}") from None
