"""Models of random numbers, biases and norms included, whose translations end: to be exchanged."""

import jax
import numpy as np

from transformer.config import Decode, Model
from transformer.data.tokenizer import Tokenizers
from transformer.model.parameters import named, with_values
from transformer.model.transformer import Transformer
from transformer.translation.model_dir import ModelConfig
from transformer.translation.translator import Translator

DECODE = Decode(beam_size=4, max_ratio=2, max_extra=4, batch_tokens=256, min_length=0)
CROSS, SOURCE = 6, 4  # so that a translation depends on its source
NEVER = -12.0  # of the symbols that a text cannot have, in logits


def random_translator(
    tokenizers: Tokenizers, *, seed: int = 1, end: float = 2, rise: float = 2, **settings: object
) -> Translator:
    """A small model with these settings of [model]. The end is likelier by `end` logits, and by more step by step."""
    sizes = tokenizers.source.vocab_size, tokenizers.target.vocab_size
    small = {"d_model": 16, "d_ff": 24, "num_heads": 2, "encoder_layers": 2, "decoder_layers": 2, "max_positions": 64}
    card = ModelConfig(
        source="en",
        target="de",
        source_vocabulary=sizes[0],
        target_vocabulary=sizes[1],
        max_length=30,
        model=Model.model_validate(small | settings),
        decode=DECODE,
    )
    model = Transformer(card.model, *sizes, rng=jax.random.key(0))
    rng = np.random.default_rng(seed)
    values = {name: _random(name, value.shape, rng) for name, value in named(model).items()}
    if card.model.tie_embeddings != "all":
        values["source_embedding.table"] *= SOURCE
    last = (
        values["decoder_norm.bias"]
        if card.model.norm == "pre"
        else values["decoder.feed_forward_residual.norm.bias"][-1]
    )
    last *= 3 / np.linalg.norm(last)
    tables = (f"{side}_embedding.table" for side in ("output", "target", "source"))
    output = values[next(name for name in tables if name in values)]
    target = tokenizers.target
    output[target.eos_id] += end * last / 9  # the dot product with `last` is `end`
    output[target.eos_id, [2, 9]] += rise, -rise  # where sinusoids rise and fall for the first ten tokens
    if card.model.positions == "learned":
        values["target_positions"][:, 2] = np.arange(card.model.max_positions) / 5
    for index in target.never_ids:
        output[index] = NEVER * last / 9
    return Translator(with_values(model, values), tokenizers, card)


def _random(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    values = rng.standard_normal(shape, np.float32)
    if name.endswith("scale"):
        return 1 + values / 4
    values = values * CROSS if "cross_attention" in name and name.endswith("kernel") else values
    return values / np.float32(np.sqrt(shape[-1 if name.endswith("table") else -2])) if values.ndim > 1 else values / 2
