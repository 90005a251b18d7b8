"""corpus: writes a corpus of any format as two text files."""

import logging
from collections.abc import Sequence
from pathlib import Path

from transformer.cli.arguments import Parser, corpus_spec, path
from transformer.cli.output import open_output, refuse_overwriting
from transformer.config import Data
from transformer.config.loading import with_overrides
from transformer.data.checks.cleaning import CleaningReport, CorpusSummary, clean
from transformer.data.corpus import open_corpus
from transformer.errors import UsageError, one_line

log = logging.getLogger(__name__)


def main(words: Sequence[str]) -> None:
    parser = Parser("corpus", "Write a corpus as PREFIX.SOURCE and PREFIX.TARGET, one sentence per line.")
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        help="as in data.train: PREFIX, FILE.tsv, .jsonl, .parquet, hf:NAME[:CONFIG]:SPLIT,"
        " builtin:clauses[:SPLIT[:COUNT]], or a table: '{path = \"b.tsv\", source = 2, target = 3}'",
    )
    parser.add_argument(
        "prefix", type=path, metavar="PREFIX", help="where to write: data/x for data/x.en and data/x.de"
    )
    parser.add_argument("--source", required=True, metavar="CODE", help="language code of the source")
    parser.add_argument("--target", required=True, metavar="CODE", help="language code of the target")
    parser.add_argument(
        "--max-left-out",
        type=float,
        default=Data().max_left_out,
        metavar="SHARE",
        help="fraction of the pairs that may be left out, as data.max_left_out (default: %(default)s)",
    )
    arguments = parser.parse(words)
    if arguments.source == arguments.target:
        raise UsageError(f"--target {arguments.target}: is the source language too; each language needs its own file")
    with_overrides(Data(), {"max_left_out": arguments.max_left_out}, "data")  # checks that it is in bounds
    corpus = open_corpus(corpus_spec(arguments.corpus), arguments.source, arguments.target, "train")
    report = CleaningReport()
    pairs = clean(corpus, report)
    names = [f"{arguments.prefix}.{code}" for code in (arguments.source, arguments.target)]
    for name in names:
        refuse_overwriting(name, *map(str, corpus.files))
    Path(arguments.prefix).parent.mkdir(parents=True, exist_ok=True)
    with open_output(names[0]) as source, open_output(names[1]) as target:
        for pair in pairs:
            source.write(f"{one_line(pair.source)}\n".encode())
            target.write(f"{one_line(pair.target)}\n".encode())
        # This is checked before the output files get their names.
        summary = CorpusSummary(corpus.name, report.read, report.kept, report.summary())
        summary.check(arguments.max_left_out, "--max-left-out")
    log.info("%s and %s: %s", *names, report.summary())
