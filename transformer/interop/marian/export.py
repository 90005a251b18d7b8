"""Exports models to a folder that MarianMTModel and MarianTokenizer of Hugging Face's Transformers load."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from safetensors.numpy import save_file

from transformer.data.tokenizer import Tokenizer, Tokenizers
from transformer.errors import UsageError
from transformer.interop.marian.names import EARLY_STOPPING, EPSILON, to_marian
from transformer.interop.supported import COMMON, Parameters, Values, check_pieces, check_settings
from transformer.model.transformer import Transformer
from transformer.translation.model_config import ModelConfig

PROGRAM = "Marian"
MIN_POSITIONS = 512  # smallest max_position_embeddings of an exported model
SUPPORTED: dict[str, Values] = COMMON | {
    "model.activation": ("relu", "gelu", "silu"),
    "model.norm": ("post",),
    "model.norm_epsilon": (EPSILON,),
    "model.positions": ("sinusoidal",),
    "decode.stop": tuple(EARLY_STOPPING),
}


def check(tokenizers: Tokenizers, config: ModelConfig) -> None:
    """Raises UsageError if Marian does not support the model."""
    check_settings(PROGRAM, config, SUPPORTED)
    source, target = tokenizers.source, tokenizers.target
    check_pieces(PROGRAM, tokenizers)
    for meaning, ids in (("end", (source.eos_id, target.eos_id)), ("padding", (source.pad_id, target.pad_id))):
        if ids[0] != ids[1]:
            raise UsageError(
                f"the {meaning} symbol has the ids {ids[0]} and {ids[1]} in source and target; Marian has one"
            )


def exporter(model: Transformer, tokenizers: Tokenizers, config: ModelConfig) -> Callable[[Path], None]:
    """Returns a function that writes the model into a directory. Raises UsageError for an unsupported model."""
    check(tokenizers, config)
    parameters = Parameters(model)
    precision = jnp.dtype(config.weights)
    tensors = {name: values.astype(precision) for name, values in to_marian(parameters, config.model).items()}
    parameters.check_all_read(PROGRAM)

    def write(directory: Path) -> None:
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        (directory / "model.safetensors").chmod(0o644)
        separate = config.model.tie_embeddings != "all"
        _write(directory / "config.json", _config(tokenizers.target, config))
        _write(directory / "generation_config.json", _generation(tokenizers.target, config))
        _write(directory / "tokenizer_config.json", _tokenizer_config(tokenizers, config, separate=separate))
        _write(directory / "vocab.json", _ids(tokenizers.source))
        if separate:
            _write(directory / "target_vocab.json", _ids(tokenizers.target))
        for name, side in (("source.spm", tokenizers.source), ("target.spm", tokenizers.target)):
            side.save_model(directory / name)
        _write(directory / "card.json", config.content())
        if about := config.about.lines():
            (directory / "README.md").write_text("\n\n".join(about) + "\n", encoding="utf8")

    return write


def _config(target: Tokenizer, config: ModelConfig) -> dict[str, Any]:
    model = config.model
    return {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "is_encoder_decoder": True,
        "dtype": config.weights,
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
        "max_position_embeddings": max(MIN_POSITIONS, config.max_target_length(config.max_length) + 1),
        "vocab_size": config.source_vocabulary,
        "decoder_vocab_size": config.target_vocabulary,
        "share_encoder_decoder_embeddings": model.tie_embeddings == "all",
        "tie_word_embeddings": model.tie_embeddings != "none",
        **_symbols(target),
    }


def _generation(target: Tokenizer, config: ModelConfig) -> dict[str, Any]:
    return {
        **_symbols(target),
        "bad_words_ids": [[index] for index in target.never_ids],
        "num_beams": config.decode.beam_size,
        "length_penalty": config.decode.length_penalty,
        "early_stopping": EARLY_STOPPING[config.decode.stop],
        "min_new_tokens": config.decode.min_length,
        "max_length": config.max_target_length(config.max_length) + 1,  # the start symbol counts too
    }


def _symbols(target: Tokenizer) -> dict[str, int]:
    return {
        "pad_token_id": target.pad_id,
        "bos_token_id": target.bos_id,
        "eos_token_id": target.eos_id,
        "forced_eos_token_id": target.eos_id,
        "decoder_start_token_id": target.bos_id,
    }


def _tokenizer_config(tokenizers: Tokenizers, config: ModelConfig, *, separate: bool) -> dict[str, Any]:
    source = tokenizers.source
    unknown, end, pad = source.pieces([source.unk_id, source.eos_id, source.pad_id])
    return {
        "tokenizer_class": "MarianTokenizer",
        "source_lang": config.source,
        "target_lang": config.target,
        "unk_token": unknown,
        "eos_token": end,
        "pad_token": pad,
        "model_max_length": config.max_length,
        "separate_vocabs": separate,
    }


def _ids(tokenizer: Tokenizer) -> dict[str, int]:
    return {piece: index for index, piece in enumerate(tokenizer.all_pieces)}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf8")
