"""To CTranslate2 (Klein et al. 2020), the engine that runs translation models on CPUs and GPUs in production.

What is written: model.bin, config.json and the vocabulary as CTranslate2 reads them, the SentencePiece models, and a
README.md that says how to call it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import jax.numpy as jnp
import numpy as np
from ctranslate2.converters import Converter
from ctranslate2.specs import TransformerSpec
from ctranslate2.specs.common_spec import Activation

from transformer.config import Model
from transformer.data.tokenizer import Tokenizers
from transformer.errors import UsageError
from transformer.interop.ctranslate2_note import note, options
from transformer.model.attention.attention import Attention
from transformer.model.blocks import DecoderLayer, EncoderLayer
from transformer.model.layers import Embedding, FeedForward, Linear, Norm, sinusoids
from transformer.model.stack import unstack
from transformer.model.transformer import Transformer
from transformer.model_dir import Card
from transformer.translator import limit

POSITIONS = 1024  # that the table of a sinusoidal model has at least: CTranslate2 does not compute them
ACTIVATIONS = {"relu": Activation.RELU, "gelu": Activation.GELU, "silu": Activation.SWISH}


def check(tokenizers: Tokenizers, card: Card) -> None:
    """Raises UsageError for what CTranslate2 cannot express."""
    source, target = tokenizers.source, tokenizers.target
    for kind, ids in (("end", (source.eos_id, target.eos_id)), ("unknown", (source.unk_id, target.unk_id))):
        (of_source,), (of_target,) = source.pieces(ids[:1]), target.pieces(ids[1:])
        if of_source != of_target:
            raise UsageError(
                f"the {kind} symbol is {of_source} in the source and {of_target} in the target; CTranslate2 has one"
            )


def export(
    directory: Path, model: Transformer, tokenizers: Tokenizers, card: Card, quantization: str = "float32"
) -> None:
    """Writes the model into a directory of its own; `check` has been passed."""
    _Converter(model, tokenizers, card).convert(str(directory), quantization=quantization, force=True)
    tokenizers.save(directory)
    (directory / "README.md").write_text(note(tokenizers, card), encoding="utf8")


class _Converter(Converter):
    """Ours, as a model that CTranslate2 knows how to validate, to quantize and to write."""

    def __init__(self, model: Transformer, tokenizers: Tokenizers, card: Card):
        self._model, self._tokenizers, self._card = model, tokenizers, card

    def _load(self) -> TransformerSpec:
        spec = _specification(self._model, self._card)
        target = self._tokenizers.target
        for side, register in (
            (self._tokenizers.source, spec.register_source_vocabulary), (target, spec.register_target_vocabulary)
        ):  # fmt: skip
            register(side.pieces(range(side.vocab_size)))
        start, end, unknown = target.pieces([target.bos_id, target.eos_id, target.unk_id])
        spec.config.bos_token = spec.config.decoder_start_token = start
        spec.config.eos_token, spec.config.unk_token = end, unknown
        spec.config.add_source_eos = True
        spec.config.layer_norm_epsilon = self._card.model.norm_epsilon
        return spec


def _specification(model: Transformer, card: Card) -> TransformerSpec:
    settings = card.model
    spec = TransformerSpec.from_config(
        (settings.encoder_layers, settings.decoder_layers),
        settings.num_heads,
        pre_norm=settings.norm == "pre",
        activation=ACTIVATIONS[settings.activation],
    )
    target = model.target_embedding or model.source_embedding
    _set_embedding(spec.encoder, spec.encoder.embeddings[0], model.source_embedding)
    _set_embedding(spec.decoder, spec.decoder.embeddings, target)
    places = limit(card.max_length, card.decode, card.model)
    for side, learned in ((spec.encoder, model.source_positions), (spec.decoder, model.target_positions)):
        side.position_encodings.encodings = _positions(settings, None if learned is None else learned[...], places)
    for side, norm in ((spec.encoder, model.encoder_norm), (spec.decoder, model.decoder_norm)):
        if norm is not None:
            _set_norm(side.layer_norm, norm)
    for layer_spec, layer in zip(spec.encoder.layer, unstack(model.encoder, settings.encoder_layers), strict=True):
        _set_encoder_layer(layer_spec, layer)
    for layer_spec, layer in zip(spec.decoder.layer, unstack(model.decoder, settings.decoder_layers), strict=True):
        _set_decoder_layer(layer_spec, layer)
    spec.decoder.projection.weight = _numbers((model.output_embedding or target).table)
    if model.output_bias is not None:
        spec.decoder.projection.bias = _numbers(model.output_bias)
    return spec


def _positions(settings: Model, learned: Any, places: int) -> np.ndarray:
    if learned is not None:
        return _numbers(learned)
    return _numbers(sinusoids(jnp.arange(max(POSITIONS, places)), settings.d_model))


def _set_encoder_layer(spec: Any, layer: EncoderLayer) -> None:
    _set_self_attention(spec.self_attention, layer.self_attention, layer.attention_residual.norm)
    _set_feed_forward(spec.ffn, layer.feed_forward, layer.feed_forward_residual.norm)


def _set_decoder_layer(spec: Any, layer: DecoderLayer) -> None:
    _set_self_attention(spec.self_attention, layer.self_attention, layer.self_attention_residual.norm)
    attention = layer.cross_attention
    _set_linear(spec.attention.linear[0], attention.query)
    _set_linear(spec.attention.linear[1], attention.key, attention.value)
    _set_linear(spec.attention.linear[2], attention.out)
    _set_norm(spec.attention.layer_norm, layer.cross_attention_residual.norm)
    _set_feed_forward(spec.ffn, layer.feed_forward, layer.feed_forward_residual.norm)


def _set_self_attention(spec: Any, attention: Attention, norm: Norm) -> None:
    _set_linear(spec.linear[0], attention.query, attention.key, attention.value)
    _set_linear(spec.linear[1], attention.out)
    _set_norm(spec.layer_norm, norm)


def _set_feed_forward(spec: Any, feed_forward: FeedForward, norm: Norm) -> None:
    _set_linear(spec.linear_0, feed_forward.up)
    _set_linear(spec.linear_1, feed_forward.down)
    _set_norm(spec.layer_norm, norm)


def _set_linear(spec: Any, *maps: Linear) -> None:
    """Several maps of the same input are one there, and its weights are [outputs, inputs]."""
    spec.weight = np.concatenate([_numbers(linear.kernel).T for linear in maps])
    spec.bias = np.concatenate([_numbers(linear.bias) for linear in maps])


def _set_norm(spec: Any, norm: Norm) -> None:
    spec.gamma, spec.beta = _numbers(norm.scale), _numbers(norm.bias)


def _set_embedding(side: Any, spec: Any, embedding: Embedding) -> None:
    spec.weight = _numbers(embedding.table)
    side.scale_embeddings = embedding.scale


def _numbers(values: Any) -> np.ndarray:
    return np.array(values[...], np.float32)  # a copy: CTranslate2 quantizes in place


class CTranslate2:
    """An exported model, run by CTranslate2: see agreement.py."""

    def __init__(self, directory: Path, tokenizers: Tokenizers, card: Card):
        self.name = f"CTranslate2 {ctranslate2.__version__}"
        self._options = options(tokenizers, card)
        self._translator = ctranslate2.Translator(str(directory), device="cpu")
        self._pieces = tokenizers.source.pieces

    def translate(self, sources: Sequence[Sequence[int]], beam_size: int, most: int) -> list[list[str]]:
        """Sources with their end, at most `most` tokens a translation -> pieces, without the end."""
        found = self._translator.translate_batch(
            [self._pieces(ids[:-1]) for ids in sources],
            **(self._options | {"beam_size": beam_size, "max_decoding_length": most}),
        )
        return [result.hypotheses[0] for result in found]

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[str]]) -> list[list[float]]:
        """Log-probability of each token of the targets, and of the end."""
        found = self._translator.score_batch(
            [self._pieces(ids[:-1]) for ids in sources], [list(pieces) for pieces in targets], max_input_length=0
        )
        return [result.log_probs for result in found]
