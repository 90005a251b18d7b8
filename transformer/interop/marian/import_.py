"""Imports the folder of a model of Hugging Face's MarianMTModel, such as an OPUS-MT model. Its files:

config.json, generation_config.json   the shape, the special ids, how to decode
model.safetensors, or pytorch_model.bin   (read without running any code in it: torch_file/)
source.spm, target.spm                SentencePiece models, whose ids are not those of the Marian model
vocab.json, target_vocab.json         the ids of the pieces: one file for both sides, or one for each side
tokenizer_config.json                 the languages, and the name of the unknown symbol
card.json                             the settings that Marian lacks, if this package exported the folder
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from transformer.config import Decode
from transformer.data.tokenizer import Tokenizer, Tokenizers
from transformer.data.vocabulary import ImportedTokenizer, Vocabulary
from transformer.errors import UsageError, one_line
from transformer.interop.marian import names as marian
from transformer.interop.torch_file.tensors import read_state_dict
from transformer.model.layers import sinusoids
from transformer.model.parameters import named, with_values
from transformer.model.transformer import Transformer
from transformer.translation.model_config import ModelConfig

MAX_BYTES = 1 << 26  # largest size of a JSON file
REQUIRED = {  # the only supported values of some settings
    "model_type": "marian", "normalize_before": False, "normalize_embedding": False, "add_final_layer_norm": False,
    "static_position_embeddings": True,
}  # fmt: skip
SUPPORTED_VALUES: dict[str, tuple[Any, ...]] = {  # of rules of generation; most values disable the rule
    "do_sample": (False,), "num_beam_groups": (1,), "diversity_penalty": (0,), "penalty_alpha": (0,),
    "repetition_penalty": (1,), "encoder_repetition_penalty": (1,), "guidance_scale": (1,),
    "no_repeat_ngram_size": (0,), "encoder_no_repeat_ngram_size": (0,), "forced_bos_token_id": (),
    "suppress_tokens": ([],), "begin_suppress_tokens": ([],), "exponential_decay_length_penalty": (),
    "force_words_ids": ([],), "sequence_bias": ({}, []), "constraints": ([],),
    "early_stopping": tuple(marian.EARLY_STOPPING.values()),
}  # fmt: skip
Settings = dict[str, Any]


class Imported(NamedTuple):
    """The arguments of `model_dir.save_model`."""

    model: Transformer
    tokenizers: Tokenizers
    config: ModelConfig


def import_marian(directory: Path, source: str = "", target: str = "") -> Imported:
    """Reads the model in a folder. A language that is not given is taken from the folder.

    Raises UsageError if the model cannot be read or is not supported.
    """
    try:
        settings = _read_json(directory / "config.json")
        generation = settings | _read_json(directory / "generation_config.json", required=False)
        marian.MarianFields.model_validate(settings)
        marian.MarianFields.model_validate(generation)
        exported = _read_json(directory / "card.json", required=False)
        _check_generation(generation)
        tensors = _read_tensors(directory)
        languages = _read_json(directory / "tokenizer_config.json", required=False)
        tokenizers = _tokenizers(directory, settings, generation, str(languages.get("unk_token", "<unk>")))
        config = ModelConfig.model_validate(
            {
                "source": _language(source, exported.get("source"), languages.get("source_lang"), "source"),
                "target": _language(target, exported.get("target"), languages.get("target_lang"), "target"),
                "source_vocabulary": tokenizers.source.vocab_size,
                "target_vocabulary": tokenizers.target.vocab_size,
                "max_length": exported.get("max_length") or settings["max_position_embeddings"],
                "model": _model(settings, exported.get("model"), marian.BIAS in tensors),
                "decode": exported.get("decode") or _decode(generation),
                "about": exported.get("about") or {},
                "weights": _precision(tensors),
            }
        )
        return Imported(_parameters(tensors, config), tokenizers, config)
    except KeyError as problem:
        raise UsageError(f"{directory}: config.json has no {problem}; is it a folder of a MarianMTModel?") from None
    except ValidationError as problem:
        error = problem.errors()[0]
        where = "".join(f"{part}." for part in error["loc"]).removesuffix(".")
        fault = one_line(error["msg"].removeprefix("Value error, "))
        raise UsageError(f"{directory}: {where}{': ' * bool(where)}{fault}") from None
    except UsageError as problem:
        message = one_line(str(problem))
        raise UsageError(message if message.startswith(str(directory)) else f"{directory}: {message}") from None


def _language(*codes: Any) -> str:
    """Returns the first code that is a string and not empty."""
    return next(one_line(code) for code in codes if code and isinstance(code, str))


def _read_json(path: Path, *, required: bool = True) -> Settings:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("too large")
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("not an object")
        return content
    except FileNotFoundError:
        if required:
            raise UsageError(f"{path}: is missing; expected the folder of a MarianMTModel") from None
        return {}
    except (OSError, ValueError, RecursionError) as problem:
        raise UsageError(f"{path}: cannot be read as JSON: {one_line(str(problem))}") from None


def _read_tensors(directory: Path) -> dict[str, np.ndarray]:
    path = directory / "model.safetensors"
    if not path.exists():
        if not (directory / "pytorch_model.bin").exists():
            raise UsageError(f"{directory}: has neither model.safetensors nor pytorch_model.bin")
        return read_state_dict(directory / "pytorch_model.bin")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as problem:
        raise UsageError(f"{path}: cannot be read: {one_line(str(problem))}") from None


def _model(settings: Settings, exported: Settings | None, output_bias: bool) -> Settings:
    """Returns the values of [model]. Raises UsageError if [model] cannot express the settings."""
    for key, value in REQUIRED.items():
        if settings.get(key, value) != value:
            raise UsageError(f"config.json: {key} is {settings[key]!r}; only {value!r} can be imported")
    for dimension in ("ffn_dim", "attention_heads"):
        one, other = f"encoder_{dimension}", f"decoder_{dimension}"
        if settings[one] != settings[other]:
            raise UsageError(f"config.json: {one} and {other} differ: {settings[one]} and {settings[other]}")
    exported = exported if isinstance(exported, dict) else {}
    activation = settings["activation_function"]
    if activation not in marian.ACTIVATIONS:
        raise UsageError(
            f"config.json: activation_function is {activation!r}; only {', '.join(marian.ACTIVATIONS)} can be imported"
        )
    tied, shared = (settings.get(key, True) for key in ("tie_word_embeddings", "share_encoder_decoder_embeddings"))
    return {
        "dropout": settings.get("dropout", 0.1),
        "attention_dropout": settings.get("attention_dropout", 0.0),
        **{key: exported[key] for key in ("max_positions", "compute_dtype", "remat") if key in exported},
        "d_model": settings["d_model"],
        "d_ff": settings["encoder_ffn_dim"],
        "num_heads": settings["encoder_attention_heads"],
        "encoder_layers": settings["encoder_layers"],
        "decoder_layers": settings["decoder_layers"],
        "activation": marian.ACTIVATIONS[activation],
        "norm": "post",
        "norm_epsilon": marian.EPSILON,
        "scale_embeddings": settings.get("scale_embedding", False),
        "output_bias": output_bias,
        "positions": "sinusoidal",
        "tie_embeddings": ("all" if shared else "decoder") if tied else "none",
    }


def _decode(generation: Settings) -> Settings:
    """Returns the values of [decode] that the folder has. The other settings of [decode] get their defaults."""
    rules = {value: key for key, value in marian.EARLY_STOPPING.items()}
    return {
        "beam_size": generation.get("num_beams") or Decode().beam_size,
        "length_penalty": 1.0 if generation.get("length_penalty") is None else generation["length_penalty"],
        "stop": rules[generation.get("early_stopping") or False],
        "min_length": generation.get("min_new_tokens") or 0,
    }


def _check_generation(generation: Settings) -> None:
    """Raises UsageError for a rule of generation that is not supported, unless its value disables it."""
    for key, values in SUPPORTED_VALUES.items():
        if generation.get(key) not in (None, *values):
            raise UsageError(f"generation_config.json: {key} is {generation[key]!r}, which cannot be imported")
    if any(len(words) != 1 for words in generation.get("bad_words_ids") or []):
        raise UsageError(
            "generation_config.json: bad_words_ids has sequences of several tokens; only single tokens can be imported"
        )


def _precision(tensors: dict[str, np.ndarray]) -> str:
    """Returns the precision of the tensors, or float32 if they have several. Raises UsageError for an unknown one."""
    found = {str(values.dtype) for name, values in tensors.items() if name not in marian.POSITIONS}
    if found - {"float32", "float16", "bfloat16"}:
        raise UsageError(
            f"the tensors are of {', '.join(sorted(found))}; float32, float16 and bfloat16 can be imported"
        )
    return found.pop() if len(found) == 1 else "float32"


def _tokenizers(directory: Path, settings: Settings, generation: Settings, unknown: str) -> Tokenizers:
    shared = not (directory / "target_vocab.json").exists()
    sizes = settings["vocab_size"], settings.get("decoder_vocab_size") or settings["vocab_size"]
    pieces = [_pieces(directory / "vocab.json", sizes[0])]
    if shared and sizes[0] != sizes[1]:
        raise UsageError(f"config.json: decoder_vocab_size is {sizes[1]}, and there is no target_vocab.json")
    pieces.append(pieces[0] if shared else _pieces(directory / "target_vocab.json", sizes[1]))
    source, target = (Tokenizer.load(directory / name) for name in ("source.spm", "target.spm"))
    start, banned = settings["decoder_start_token_id"], {words[0] for words in generation.get("bad_words_ids") or []}
    # If the vocabularies are separate, `start` and `banned` apply to the source only where both have the same piece.
    both = {index for index, (one, other) in enumerate(zip(*pieces, strict=False)) if one == other}
    sides = [
        _side(source, pieces[0], settings, unknown, start if start in both else None, banned & both),
        _side(target, pieces[1], settings, unknown, start, banned),
    ]
    if sides[0].identity == sides[1].identity:
        return Tokenizers(sides[0], sides[0])
    return Tokenizers(*sides)


def _pieces(path: Path, size: int) -> list[str]:
    """Returns the pieces by id. An id without a piece gets the name `<unused ID>`. Raises UsageError for wrong ids."""
    ids = _read_json(path)
    if not all(type(index) is int and 0 <= index < size for index in ids.values()):
        raise UsageError(f"{path}: an id is not a number, or not below the {size} of config.json")
    pieces = [f"<unused {index}>" for index in range(size)]
    for piece, index in ids.items():
        pieces[index] = piece
    if len(set(ids.values())) < len(ids):
        raise UsageError(f"{path}: two pieces have the same id")
    return pieces


def _side(
    model: Tokenizer, pieces: list[str], settings: Settings, unknown: str, used_start: int | None, banned: set[int]
) -> Tokenizer:
    """Returns a tokenizer with the ids of the Marian model: `model` itself if SentencePiece's own ids are the same.

    `used_start` is None if the vocabulary lacks the start symbol.
    """
    end, pad = settings["eos_token_id"], settings["pad_token_id"]
    start = pad if used_start is None else used_start
    names = [name for name in (unknown, "<unk>", model.pieces([model.unk_id])[0]) if name in pieces]
    if not names:
        raise UsageError(f"vocab.json: has no {unknown}")
    vocabulary = Vocabulary(
        pieces=tuple(pieces),
        pad=pad,
        start=start,
        end=end,
        unknown=pieces.index(names[0]),
        never=tuple(sorted({pad, *({start} - {end}), *banned})),
    )
    own = (model.all_pieces, model.pad_id, model.eos_id, model.unk_id)
    same = own == (pieces, vocabulary.pad, vocabulary.end, vocabulary.unknown)
    of_target = (vocabulary.start, set(vocabulary.never)) == (model.bos_id, set(model.never_ids))
    if same and (of_target or used_start is None):
        return model
    return ImportedTokenizer(model.model_bytes, vocabulary)


def _parameters(tensors: dict[str, np.ndarray], config: ModelConfig) -> Transformer:
    """Returns the model with these tensors in float32.

    Raises UsageError if a tensor does not fit the config, or has NaN or infinite values.
    """
    width = config.model.d_model
    for name in marian.POSITIONS:
        if name in tensors:
            table = tensors[name].astype(np.float32)
            expected = sinusoids(jnp.arange(len(table)), width) if table.ndim == 2 else np.empty(0)
            if table.shape != expected.shape or not np.allclose(table, expected, atol=2e-3):
                raise UsageError(
                    f"the tensor {name} is not the table of sinusoidal positions (sines first, then cosines)"
                )
    model = config.abstract_model()
    parameters = marian.from_marian(tensors, config.model)
    for name, expected in named(model).items():
        if parameters[name].shape != expected.shape:
            shape = parameters[name].shape
            raise UsageError(f"the tensors of {name} have the shape {shape}, config.json asks for {expected.shape}")
        if not np.isfinite(parameters[name]).all():
            raise UsageError(f"the tensors of {name} have NaN or infinite values")
    return with_values(model, {name: values.astype(np.float32) for name, values in parameters.items()})
