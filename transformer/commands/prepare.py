"""prepare: checks the corpora of a config and trains the tokenizer, without training a model."""

from collections.abc import Sequence

import numpy as np

from transformer.cli.arguments import config_of, config_parser, path
from transformer.config import Config
from transformer.data.batches import Batches, choose_buckets, row_multiple
from transformer.data.checks.overlap import find_overlaps
from transformer.data.corpus import open_corpora
from transformer.data.prepare import Prepared, open_all, prepare
from transformer.errors import reporting_full_disk


def main(words: Sequence[str]) -> None:
    parser = config_parser(
        "prepare",
        "Read the corpora of a config, train the tokenizer, and report: pairs kept and left out, lengths, shapes of"
        " batches, padding, text that the tokenizer changes, and pairs that are also trained on. The results are stored"
        " in RUN/data, where train finds them.",
    )
    parser.add_argument(
        "--test",
        action="append",
        default=[],
        type=path,
        metavar="PREFIX",
        help="a corpus to test with later, named as in data.train: count its pairs that are also trained on",
    )
    arguments = parser.parse(words)
    config = config_of(arguments)
    from transformer.run.run_dir import lock  # imported here, because its imports would slow down --help

    with reporting_full_disk(config.directory), lock(config.directory):
        tokenizers = None
        if config.train.init_from:  # JAX is configured only to load a model
            from transformer.cli.jax_setup import configure_jax
            from transformer.run.initial_model import complete

            configure_jax(cpu_only=True)  # this command needs no accelerator
            config, tokenizers = complete(config)
        corpora, data = open_all(config), config.data
        tests = open_corpora(arguments.test, data.source, data.target, "test")
        corpus = prepare(config, corpora, config.directory / "data", tokenizers)
    _report(config, corpus)
    print("\npairs that are also trained on:")
    for overlap in find_overlaps(corpora.train, [*corpora.valid, *tests]):
        print(f"  {overlap}")


def _report(config: Config, corpus: Prepared) -> None:
    lengths = corpus.train.lengths
    print("tokens per sentence  mean  median    95%    99%  longest")
    for side, column in (("source", lengths[:, 0]), ("target", lengths[:, 1])):
        median, p95, p99 = np.percentile(column, (50, 95, 99))
        print(f"{side:<18} {column.mean():6.1f} {median:7.0f} {p95:6.0f} {p99:6.0f} {column.max():8d}")
    multiple = row_multiple(1, config.train.accumulate)
    buckets = choose_buckets(
        lengths, count=config.data.buckets, batch_tokens=config.train.batch_tokens, multiple=multiple
    )
    batches = Batches(corpus.train, buckets, config.seed)
    print(f"{len(corpus.train):,} pairs, {lengths.sum():,} tokens, {batches.per_epoch} updates per epoch,", end=" ")
    print(f"padding {100 * batches.padding():.1f}%")
    print("shapes (rows x tokens): " + ", ".join(f"{bucket.rows}x{bucket.target}" for bucket in buckets))
    print("\nthe first pair in pieces:")
    for tokenizer, sentences in (
        (corpus.tokenizers.source, corpus.train.source),
        (corpus.tokenizers.target, corpus.train.target),
    ):
        print("  " + " ".join(tokenizer.pieces(sentences[0].tolist())))
