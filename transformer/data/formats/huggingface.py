"""hf:NAME[:CONFIG]:SPLIT: a dataset of the Hugging Face Hub, or of a local folder. See arrow.py for the columns."""

import re
import sys
from collections.abc import Iterator

from transformer.data.corpus import Corpus, Pair
from transformer.data.formats.arrow import ROWS, find_columns, read_pairs
from transformer.errors import DataError, UsageError, one_line

_SPEC = re.compile(r"hf:(?P<name>[^:]+)(:(?P<config>[^:\[\]]+))?:(?P<split>[^:\[\]]+(\[.*\])?)")


def open_dataset(spec: str, source: str, target: str, split: str) -> Corpus:
    """Loads the dataset. The spec has the split; the argument `split` is ignored. Raises DataError, UsageError."""
    match = _SPEC.fullmatch(spec)
    if not match:
        raise UsageError(f"{spec}: write hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT, as in hf:wmt14:de-en:train")
    import datasets  # imported here, because the import takes a second

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        dataset = datasets.load_dataset(match["name"], match["config"], split=match["split"])
    except Exception as problem:  # a hub, a network and a loader raise errors of any class
        raise DataError(f"{spec}: cannot be loaded: {one_line(str(problem))}") from None
    columns = find_columns(dataset.features.arrow_schema, source, target, spec)
    table = dataset.select_columns(sorted({column.split(".")[0] for column in columns})).with_format("arrow")

    def read() -> Iterator[Pair]:
        return (pair for rows in table.iter(ROWS) for pair in read_pairs(rows, columns))

    return Corpus(spec, read, (), (source, target))
