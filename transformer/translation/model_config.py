"""The content of a model's config.json: languages, shape, defaults of decoding, terms."""

from typing import Annotated, Any, Literal, Self

import jax
from flax import nnx
from pydantic import Field

from transformer.config import About, Config, Decode, Model
from transformer.config.section import Section, Size
from transformer.config.train import BleuTokenizer
from transformer.data.tokenizer import Tokenizers
from transformer.model.transformer import Transformer


class ModelConfig(Section):
    """Everything that a model directory states about a model, besides its parameters and tokenizers."""

    source: str
    """language code of the source"""
    target: str
    """language code of the target"""
    source_vocabulary: Size
    target_vocabulary: Size
    max_length: Annotated[int, Field(ge=2, le=1 << 20)]
    """data.max_length of the training: the maximum number of tokens of a source, end of sentence included"""
    model: Model
    decode: Decode
    about: About = About()
    """not written to the file if it is empty"""
    bleu_tokenizer: BleuTokenizer = "auto"
    """train.bleu_tokenizer of the training; not written to the file if it is auto"""
    weights: Literal["float32", "float16", "bfloat16"] = "float32"
    """precision of the parameters in model.safetensors; in memory they are float32"""

    @classmethod
    def from_config(cls, config: Config, tokenizers: Tokenizers) -> Self:
        """Returns the model config for a run with the given config."""
        return cls(
            source=config.data.source,
            target=config.data.target,
            source_vocabulary=tokenizers.source.vocab_size,
            target_vocabulary=tokenizers.target.vocab_size,
            max_length=config.data.max_length,
            model=config.model,
            decode=config.decode,
            about=config.about,
            bleu_tokenizer=config.train.bleu_tokenizer,
        )

    def content(self) -> dict[str, Any]:
        """Returns the content of config.json."""
        unset = {"about": self.about == About(), "bleu_tokenizer": self.bleu_tokenizer == "auto"}
        return self.model_dump(mode="json", exclude={name for name, is_unset in unset.items() if is_unset})

    def abstract_model(self) -> Transformer:
        """Returns a model with the shape and dtype of each parameter in place of its values."""
        return nnx.eval_shape(
            lambda: Transformer(self.model, self.source_vocabulary, self.target_vocabulary, rng=jax.random.key(0))
        )

    def max_target_length(self, source_tokens: int) -> int:
        """Returns the maximum length of a translation with the model's own settings; see `max_target_length` below."""
        return max_target_length(source_tokens, self.decode, self.model)


def max_target_length(source_tokens: int, decode: Decode, model: Model) -> int:
    """Returns the maximum number of tokens of a translation, EOS included. It does not depend on other sources.

    It is at least 2, for a token and EOS. If the model has learned positions, it is at most their number.
    """
    length = max(int(source_tokens * decode.max_ratio) + decode.max_extra, 2)
    return min(length, model.max_positions) if model.positions == "learned" else length
