"""prepare: what a config's corpora are like, and their tokenizer, without training."""

from collections.abc import Sequence

import numpy as np

from transformer.commands.arguments import config_parser, parse_config
from transformer.config import Config
from transformer.data.batches import Batches, choose_buckets, row_multiple
from transformer.data.prepare import Prepared, open_all, prepare
from transformer.data.tokenizer import Tokenizers
from transformer.errors import room_for


def main(words: Sequence[str]) -> None:
    parser = config_parser(
        "prepare",
        "Read the corpora of a config, train the tokenizer, and report: pairs kept and left out, lengths, shapes of"
        " batches, padding. Everything is kept in RUN/data, where train finds it.",
    )
    config = parse_config(parser, words)
    from transformer.training.run_dir import hold  # which imports what --help does not wait for

    with room_for(config.directory), hold(config.directory):
        config, tokenizers = _complete(config)
        corpus = prepare(config, open_all(config), config.directory / "data", tokenizers)
    _report(config, corpus)


def _report(config: Config, corpus: Prepared) -> None:
    lengths = corpus.train.lengths
    print("tokens a sentence    mean  median    95%    99%  longest")
    for side, column in (("source", lengths[:, 0]), ("target", lengths[:, 1])):
        median, most, nearly = np.percentile(column, (50, 95, 99))
        print(f"{side:<18} {column.mean():6.1f} {median:7.0f} {most:6.0f} {nearly:6.0f} {column.max():8d}")
    multiple = row_multiple(1, config.train.accumulate)
    buckets = choose_buckets(
        lengths, count=config.data.buckets, batch_tokens=config.train.batch_tokens, multiple=multiple
    )
    batches = Batches(corpus.train, buckets, config.seed)
    print(f"{len(corpus.train):,} pairs, {lengths.sum():,} tokens, {batches.per_epoch} updates an epoch,", end=" ")
    print(f"padding {100 * batches.padding():.1f}%")
    print("shapes (rows x tokens): " + ", ".join(f"{bucket.rows}x{bucket.target}" for bucket in buckets))
    print("\nthe first pair in pieces:")
    for tokenizer, sentences in (
        (corpus.tokenizers.source, corpus.train.source),
        (corpus.tokenizers.target, corpus.train.target),
    ):
        print("  " + " ".join(tokenizer.pieces(sentences[0].tolist())))


def _complete(config: Config) -> tuple[Config, Tokenizers | None]:
    """With what the model of train.init_from gives. Only a config that has one waits for JAX."""
    if not config.train.init_from:
        return config, None
    import jax

    from transformer.training.initial import complete

    jax.config.update("jax_platforms", "cpu")  # nothing is computed that needs an accelerator, or its memory
    return complete(config)
