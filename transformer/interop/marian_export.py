"""To a folder that MarianMTModel and MarianTokenizer of Hugging Face's Transformers load."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from transformer.data.tokenizer import Tokenizer, Tokenizers
from transformer.errors import UsageError
from transformer.interop.marian import EPSILON, STOPS, to_marian
from transformer.model.parameters import named
from transformer.model.transformer import Transformer
from transformer.model_dir import Card
from transformer.translator import limit

POSITIONS = 512  # that the model takes at least


def check(tokenizers: Tokenizers, card: Card) -> None:
    """Raises UsageError for what a Marian model cannot be, with the setting that is in the way."""
    model = card.model
    for key, found, needed in (
        ("model.norm", model.norm, "post"),
        ("model.positions", model.positions, "sinusoidal"),
        ("model.norm_epsilon", model.norm_epsilon, EPSILON),
    ):
        if found != needed:
            raise UsageError(
                f"{key} = {found!r}: a Marian model has {needed!r}; train one with configs/marian.toml, or export to"
                " ctranslate2"
            )
    source, target = tokenizers.source, tokenizers.target
    for meaning, ids in (("end", (source.eos_id, target.eos_id)), ("padding", (source.pad_id, target.pad_id))):
        if ids[0] != ids[1]:
            raise UsageError(
                f"the {meaning} symbol has the ids {ids[0]} and {ids[1]} in source and target; Marian has one"
            )


def export(directory: Path, model: Transformer, tokenizers: Tokenizers, card: Card) -> None:
    """Writes everything into an empty directory; `check` has been passed."""
    parameters = {name: np.asarray(values).astype(jnp.dtype(card.weights)) for name, values in named(model).items()}
    save_file(to_marian(parameters, card.model), directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "model.safetensors").chmod(0o644)
    separate = card.model.tie_embeddings != "all"
    _write(directory / "config.json", _config(tokenizers.target, card))
    _write(directory / "generation_config.json", _generation(tokenizers.target, card))
    _write(directory / "tokenizer_config.json", _tokenizer_config(tokenizers, card, separate=separate))
    _write(directory / "vocab.json", _ids(tokenizers.source))
    if separate:
        _write(directory / "target_vocab.json", _ids(tokenizers.target))
    for name, side in (("source.spm", tokenizers.source), ("target.spm", tokenizers.target)):
        side.save_model(directory / name)
    _write(directory / "card.json", card.model_dump(mode="json"))


def _config(target: Tokenizer, card: Card) -> dict[str, Any]:
    model = card.model
    return {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "is_encoder_decoder": True,
        "dtype": card.weights,
        "d_model": model.d_model,
        "encoder_layers": model.encoder_layers,
        "decoder_layers": model.decoder_layers,
        "encoder_ffn_dim": model.d_ff,
        "decoder_ffn_dim": model.d_ff,
        "encoder_attention_heads": model.num_heads,
        "decoder_attention_heads": model.num_heads,
        "activation_function": model.activation,
        "dropout": model.dropout,
        "attention_dropout": model.attention_dropout,
        "activation_dropout": 0.0,
        "scale_embedding": model.scale_embeddings,
        "static_position_embeddings": True,
        "normalize_before": False,
        "normalize_embedding": False,
        "max_position_embeddings": max(POSITIONS, limit(card.max_length, card.decode, card.model) + 1),
        "vocab_size": card.source_vocabulary,
        "decoder_vocab_size": card.target_vocabulary,
        "share_encoder_decoder_embeddings": model.tie_embeddings == "all",
        "tie_word_embeddings": model.tie_embeddings != "none",
        **_symbols(target),
    }


def _generation(target: Tokenizer, card: Card) -> dict[str, Any]:
    return {
        **_symbols(target),
        "bad_words_ids": [[index] for index in target.never_ids],
        "num_beams": card.decode.beam_size,
        "length_penalty": card.decode.length_penalty,
        "early_stopping": STOPS[card.decode.stop],
        "min_new_tokens": card.decode.min_length,
        "max_length": limit(card.max_length, card.decode, card.model) + 1,  # it counts the start symbol
    }


def _symbols(target: Tokenizer) -> dict[str, int]:
    return {
        "pad_token_id": target.pad_id,
        "bos_token_id": target.bos_id,
        "eos_token_id": target.eos_id,
        "forced_eos_token_id": target.eos_id,
        "decoder_start_token_id": target.bos_id,
    }


def _tokenizer_config(tokenizers: Tokenizers, card: Card, *, separate: bool) -> dict[str, Any]:
    source = tokenizers.source
    unknown, end, pad = source.pieces([source.unk_id, source.eos_id, source.pad_id])
    return {
        "tokenizer_class": "MarianTokenizer",
        "source_lang": card.source,
        "target_lang": card.target,
        "unk_token": unknown,
        "eos_token": end,
        "pad_token": pad,
        "model_max_length": card.max_length,
        "separate_vocabs": separate,
    }


def _ids(tokenizer: Tokenizer) -> dict[str, int]:
    return {piece: index for index, piece in enumerate(tokenizer.pieces(range(tokenizer.vocab_size)))}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf8")
