"""A folder of MarianMTModel as OPUS-MT's are, made by hand, and what such a model computes, in NumPy.

Nothing of the package's own account of Marian is used: names, shapes and formulas are those of Hugging Face's model.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from transformer.config import Tokenizer as Settings
from transformer.data.clauses import clauses
from transformer.data.tokenizer import Tokenizer
from transformer.data.tokenizer_training import train_tokenizer

D, F, HEADS, LAYERS, PLACES = 16, 24, 2, {"encoder": 2, "decoder": 1}, 512
TAGS = (">>fra<<", ">>deu<<")
CONTROLS = ("<pad>", "<s>", "</s>", "<unk>")
UNKNOWN_HERE = "q"  # a sign that no vocabulary of these has, though the tokenizers may
FOREIGN = "▁foreign"  # a piece of the vocabularies that no tokenizer has
Tensors = dict[str, np.ndarray]


def write_folder(directory: Path, *, separate: bool = False, seed: int = 11) -> None:
    """One vocabulary for both sides, or two; the weights in float16."""
    directory.mkdir()
    rng = np.random.default_rng(seed)
    english, german = zip(*clauses("train", 300), strict=True)
    sides = []
    for name, texts in (("source", [*english, "quick queens"] * 2), ("target", german)):
        tokenizer = train_tokenizer(texts, Settings(vocab_size=120, byte_fallback=False))
        tokenizer.save_model(directory / f"{name}.spm")
        known = tokenizer.pieces(range(tokenizer.vocab_size))
        sides.append([piece for piece in known if piece not in CONTROLS and UNKNOWN_HERE not in piece] + [FOREIGN])
    joint = [sorted({*sides[0], *sides[1]})] if not separate else sides
    size = max(map(len, joint)) + 4
    for name, pieces in zip(("vocab.json", "target_vocab.json"), joint, strict=False):
        rng.shuffle(pieces)
        filled = [*pieces, *(f"filler{i}" for i in range(size - 4 - len(pieces)))]
        write_json(directory / name, {p: i for i, p in enumerate(["</s>", "<unk>", *filled, *TAGS, "<pad>"])})
    size += 1
    write_json(directory / "config.json", config(size, separate=separate))
    symbols = {"bad_words_ids": [[size - 1]], "decoder_start_token_id": size - 1, "eos_token_id": 0}
    generation = {"forced_eos_token_id": 0, "max_length": 512, "num_beams": 4, "pad_token_id": size - 1}
    write_json(directory / "generation_config.json", symbols | generation)
    write_json(directory / "tokenizer_config.json", {"source_lang": "en", "target_lang": "de"})
    save_file(random_tensors(size, rng, separate=separate), directory / "model.safetensors", metadata={"format": "pt"})


def config(size: int, *, separate: bool) -> dict[str, Any]:
    return {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "is_encoder_decoder": True,
        "activation_function": "swish",
        "activation_dropout": 0.0,
        "add_bias_logits": False,
        "add_final_layer_norm": False,
        "attention_dropout": 0.0,
        "dropout": 0.1,
        "d_model": D,
        "encoder_layers": LAYERS["encoder"],
        "decoder_layers": LAYERS["decoder"],
        "encoder_ffn_dim": F,
        "decoder_ffn_dim": F,
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
        "max_length": 512,
        "max_position_embeddings": PLACES,
        "normalize_before": False,
        "normalize_embedding": False,
        "num_beams": 4,
        "scale_embedding": True,
        "static_position_embeddings": True,
        "vocab_size": size,
        "decoder_vocab_size": size,
        "share_encoder_decoder_embeddings": not separate,
        "tie_word_embeddings": True,
        "bad_words_ids": [[size - 1]],
        "eos_token_id": 0,
        "bos_token_id": 0,
        "forced_eos_token_id": 0,
        "pad_token_id": size - 1,
        "decoder_start_token_id": size - 1,
    }


def random_tensors(size: int, rng: np.random.Generator, *, separate: bool) -> Tensors:
    tensors: Tensors = {}

    def put(name: str, *shape: int, spread: float = 0.3, centre: float = 0.0) -> None:
        tensors[name] = (centre + spread * rng.standard_normal(shape)).astype(np.float16)

    for side, layers in LAYERS.items():
        for layer in range(layers):
            prefix = f"model.{side}.layers.{layer}"
            for attention in ("self_attn", "encoder_attn")[: 1 if side == "encoder" else 2]:
                for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    put(f"{prefix}.{attention}.{name}.weight", D, D, spread=1 if attention == "encoder_attn" else 0.4)
                    put(f"{prefix}.{attention}.{name}.bias", D)
                put(f"{prefix}.{attention}_layer_norm.weight", D, centre=1)
                put(f"{prefix}.{attention}_layer_norm.bias", D)
            put(f"{prefix}.fc1.weight", F, D)
            put(f"{prefix}.fc1.bias", F)
            put(f"{prefix}.fc2.weight", D, F)
            put(f"{prefix}.fc2.bias", D)
            put(f"{prefix}.final_layer_norm.weight", D, centre=1)
            put(f"{prefix}.final_layer_norm.bias", D)
    for name in ("encoder.embed_tokens", "decoder.embed_tokens") if separate else ("shared",):
        put(f"model.{name}.weight", size, D)
        tensors[f"model.{name}.weight"][-1] = 0  # of the padding
    put("final_logits_bias", 1, size, spread=0.5)
    tensors["final_logits_bias"][0, 0] = 3  # so that translations end
    return tensors


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf8")


def change_json(path: Path, changes: dict[str, Any], *, drop: str = "") -> None:
    content = json.loads(path.read_text("utf8")) | changes
    content.pop(drop, None)
    write_json(path, content)


def change_tensors(folder: Path, change: Callable[[Tensors], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def ids_by_hand(directory: Path, text: str, *, side: str = "source", tag: str = "") -> list[int]:
    """A tag, the pieces of SentencePiece, the end; what the vocabulary lacks is <unk>."""
    own = directory / "target_vocab.json"
    ids = json.loads((own if side == "target" and own.exists() else directory / "vocab.json").read_text("utf8"))
    pieces = Tokenizer.load(directory / f"{side}.spm")._processor.encode(text, out_type=str)
    return [*([ids[tag]] if tag else []), *(ids.get(piece, ids["<unk>"]) for piece in pieces), ids["</s>"]]


def logits(tensors: Tensors, source: list[int], target: list[int]) -> np.ndarray:
    """[tokens of the target, vocabulary]: of what follows each. The target begins with the padding symbol."""
    T = {name: values.astype(np.float64) for name, values in tensors.items()}
    shared = T.get("model.shared.weight")
    tables = [shared if shared is not None else T[f"model.{side}.embed_tokens.weight"] for side in LAYERS]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ T[f"{name}.weight"].T + T[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * T[f"{name}.weight"] + T[f"{name}.bias"]

    def attend(x: np.ndarray, memory: np.ndarray, name: str, *, causal: bool) -> np.ndarray:
        q, k, v = (
            linear(y, f"{name}.{kind}_proj").reshape(len(y), HEADS, -1).swapaxes(0, 1)
            for y, kind in ((x, "q"), (memory, "k"), (memory, "v"))
        )
        scores = q @ k.swapaxes(1, 2) / np.sqrt(D // HEADS)
        if causal:
            scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        looked = weights / weights.sum(-1, keepdims=True) @ v
        return norm(x + linear(looked.swapaxes(0, 1).reshape(len(x), D), f"{name}.out_proj"), f"{name}_layer_norm")

    def feed(x: np.ndarray, name: str) -> np.ndarray:
        hidden = linear(x, f"{name}.fc1")
        return norm(x + linear(hidden / (1 + np.exp(-hidden)), f"{name}.fc2"), f"{name}.final_layer_norm")

    def embed(ids: list[int], table: np.ndarray) -> np.ndarray:
        angles = np.arange(len(ids))[:, None] / 10000 ** (np.arange(0, D, 2) / D)
        return table[ids] * np.sqrt(D) + np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    memory, x = embed(source, tables[0]), embed(target, tables[1])
    for layer in range(LAYERS["encoder"]):
        name = f"model.encoder.layers.{layer}"
        memory = feed(attend(memory, memory, f"{name}.self_attn", causal=False), name)
    for layer in range(LAYERS["decoder"]):
        name = f"model.decoder.layers.{layer}"
        x = attend(x, x, f"{name}.self_attn", causal=True)
        x = feed(attend(x, memory, f"{name}.encoder_attn", causal=False), name)
    return x @ tables[1].T + T["final_logits_bias"][0]
