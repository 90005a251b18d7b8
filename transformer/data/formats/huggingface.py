"""hf:NAME[:CONFIG]:SPLIT: a dataset of the Hugging Face Hub, or of a local folder. See parquet.py for the columns."""

import lzma
import re
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

from transformer.data.corpus import Columns, Corpus, Pair
from transformer.data.formats.parquet import ROWS, find_columns, read_pairs
from transformer.errors import DISK_FULL, DataError, UsageError, cannot_write, one_line

_PROBLEMS = (  # the exceptions that the readers of the many formats raise
    *(OSError, ValueError, LookupError, TypeError, RuntimeError, ImportError, EOFError),
    *(zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error),
)
_SPEC = re.compile(r"hf:(?P<name>[^:]+)(:(?P<config>[^:\[\]]+))?:(?P<split>[^:\[\]]+(\[.*\])?)")


def open_dataset(spec: str, columns: Columns, split: str) -> Corpus:
    """Loads the dataset. The spec names the split; the argument `split` is ignored.

    Raises UsageError if the spec is invalid, DataError if the dataset cannot be loaded or lacks a column, and
    ResourceError if the disk is full.
    """
    match = _SPEC.fullmatch(spec)
    if not match:
        raise UsageError(f"{spec}: write hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT, as in hf:wmt14:de-en:train")
    import datasets  # imported here, because the import takes a second
    import huggingface_hub.errors

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        dataset = datasets.load_dataset(match["name"], match["config"], split=match["split"])
    except (*_PROBLEMS, datasets.exceptions.DatasetsError, huggingface_hub.errors.HTTPError) as problem:
        cause = problem.__cause__ or problem  # the cause of a failed conversion has the reason
        if isinstance(cause, MemoryError):
            raise cause from None
        if isinstance(cause, OSError) and cause.errno in DISK_FULL:
            raise cannot_write(datasets.config.HF_DATASETS_CACHE, cause) from None
        raise DataError(f"{spec}: cannot be loaded: {one_line(str(cause))}") from None
    paths = find_columns(dataset.features.arrow_schema, columns, spec)
    table = dataset.select_columns(sorted({path[0] for path in paths})).with_format("arrow")

    def read() -> Iterator[Pair]:
        return (pair for rows in table.iter(ROWS) for pair in read_pairs(rows, paths))

    return Corpus(spec, read, (), (columns.source, columns.target))
