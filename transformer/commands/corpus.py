"""corpus: a corpus of any kind as two plain files."""

import logging
from collections.abc import Sequence
from pathlib import Path

from transformer.commands.arguments import Parser
from transformer.commands.output import open_output, refuse_overwriting
from transformer.data.corpus import Report, clean, open_corpus
from transformer.data.lines import one_line
from transformer.errors import UsageError

log = logging.getLogger(__name__)


def main(words: Sequence[str]) -> None:
    parser = Parser("corpus", "Write a corpus as PREFIX.SOURCE and PREFIX.TARGET, a sentence a line.")
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        help="as in data.train: PREFIX, FILE.tsv, .jsonl, .parquet, hf:NAME[:CONFIG]:SPLIT,"
        " builtin:clauses[:SPLIT[:COUNT]]",
    )
    parser.add_argument("prefix", metavar="PREFIX", help="where to write: data/x for data/x.en and data/x.de")
    parser.add_argument("--source", required=True, metavar="CODE", help="language code of the source")
    parser.add_argument("--target", required=True, metavar="CODE", help="language code of the target")
    arguments = parser.parse(words)
    if arguments.source == arguments.target:
        raise UsageError(f"--target {arguments.target}: is the source language too, and both need a file of their own")
    corpus = open_corpus(arguments.corpus, arguments.source, arguments.target, "train")
    report = Report()
    pairs = clean(corpus, report)
    names = [f"{arguments.prefix}.{code}" for code in (arguments.source, arguments.target)]
    for name in names:
        refuse_overwriting(name, *map(str, corpus.files))
    Path(arguments.prefix).parent.mkdir(parents=True, exist_ok=True)
    with open_output(names[0]) as source, open_output(names[1]) as target:
        for pair in pairs:
            source.write(f"{one_line(pair.source)}\n".encode())
            target.write(f"{one_line(pair.target)}\n".encode())
    log.info("%s and %s: %s", *names, report.summary())
