"""Hugging Face's MarianMTModel beside ours: folders of random weights, and what both say of the same lines."""

import json
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from transformers import GenerationConfig, MarianConfig, MarianMTModel, MarianTokenizer

from transformer.cli import main as door
from transformer.config import Tokenizer as Subwords
from transformer.data.clauses import clauses
from transformer.data.corpus import Pair
from transformer.data.tokenizer import Tokenizer
from transformer.data.tokenizer_training import train_tokenizer
from transformer.translation.translator import Translator

torch.set_num_threads(1)  # models so small are slower with more

CLOSE = 1e-4  # of states, scores and log-probabilities in float32
TAGS = (">>deu<<", ">>nds<<")
PAIRS = list(clauses("train", 1000))


class Shape(NamedTuple):
    """A MarianMTModel to be made."""

    settings: dict[str, Any]
    joint: bool = True  # one vocabulary for both sides
    bias: bool = True  # whether the file has final_logits_bias
    file: str = "model.safetensors"
    spread: float = 0.6  # of the matrices, so that translations of different sources differ
    end: float = 3.65  # bias of the end symbol: so that most translations end, and some do not
    unnamed: int = 0  # ids that have no piece


SHAPES = {
    "tied": Shape(
        {"encoder_layers": 2, "decoder_layers": 1, "activation_function": "swish", "scale_embedding": True},
        file="pytorch_model.bin",
        spread=0.3,  # with 0.6 PyTorch's own error in float32 reaches 1e-4
        end=5.12,
    ),
    "tied, without a bias": Shape(
        {"encoder_layers": 1, "decoder_layers": 2, "activation_function": "silu", "scale_embedding": False},
        bias=False,
        unnamed=3,
    ),
    "separate": Shape(
        {
            "encoder_layers": 1, "decoder_layers": 2, "activation_function": "relu", "scale_embedding": False,
            "share_encoder_decoder_embeddings": False,
        },
        joint=False,
        end=4.4,
    ),
    "separate and untied": Shape(
        {
            "encoder_layers": 2, "decoder_layers": 2, "activation_function": "gelu", "scale_embedding": True,
            "share_encoder_decoder_embeddings": False, "tie_word_embeddings": False,
        },
        joint=False,
    ),
    "untied, without a bias": Shape(
        {
            "encoder_layers": 1, "decoder_layers": 1, "activation_function": "relu", "scale_embedding": True,
            "tie_word_embeddings": False,
        },
        bias=False,
        file="pytorch_model.bin",
    ),
}  # fmt: skip


class Peer(NamedTuple):
    """A folder of Hugging Face's, and what was imported from it."""

    folder: Path
    output: Path
    model: Any
    tokenizer: Any
    translator: Translator


def write_folder(folder: Path, shape: Shape) -> None:
    """A MarianMTModel with random weights, and the files of its tokenizer with ids in no order."""
    folder.mkdir()
    sides = list(zip(*PAIRS[:500], strict=True))
    settings = Subwords(vocab_size=200, byte_fallback=False)
    models = [train_tokenizer(sentences, settings) for sentences in sides]
    pieces = [{*model.pieces(range(model.vocab_size)), *tags} for model, tags in zip(models, (TAGS, ()), strict=True)]
    names = ["vocab.json", "target_vocab.json"]
    ids = [shuffled(side) for side in ([pieces[0] | pieces[1]] if shape.joint else pieces)]
    for name, model in zip(("source.spm", "target.spm"), models, strict=True):
        model.save_model(folder / name)
    for name, side in zip(names, ids, strict=False):
        (folder / name).write_text(json.dumps(side), encoding="utf8")
    languages = {"source_lang": "eng", "target_lang": "deu", "separate_vocabs": not shape.joint}
    (folder / "tokenizer_config.json").write_text(json.dumps(languages), encoding="utf8")
    write_model(folder, shape, ids[0], len(ids[-1]))


def shuffled(pieces: set[str]) -> dict[str, int]:
    """Ids in no order, but for those that both sides share."""
    ordered = sorted(pieces - {"</s>", "<unk>", "<pad>"})
    Random(1).shuffle(ordered)
    return {piece: index for index, piece in enumerate(["</s>", ordered[0], "<unk>", "<pad>", *ordered[1:]])}


def write_model(folder: Path, shape: Shape, ids: dict[str, int], target_size: int) -> None:
    symbols = {
        "pad_token_id": ids["<pad>"],
        "eos_token_id": ids["</s>"],
        "forced_eos_token_id": ids["</s>"],
        "decoder_start_token_id": ids["<pad>"],
    }
    config = MarianConfig(
        vocab_size=len(ids) + shape.unnamed, decoder_vocab_size=target_size + shape.unnamed, d_model=16,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24,
        max_position_embeddings=128, **symbols, **shape.settings,
    )  # fmt: skip
    torch.manual_seed(3)
    model: Any = MarianMTModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = shape.spread if name.endswith(("proj.weight", "fc1.weight", "fc2.weight")) else 0.3
            parameter += spread * torch.randn_like(parameter) * parameter.requires_grad
        model.final_logits_bias += torch.randn_like(model.final_logits_bias)
        model.final_logits_bias[0, ids["</s>"]] = shape.end
    model.generation_config = GenerationConfig(**symbols, num_beams=4, bad_words_ids=[[ids["<pad>"]]])
    model.save_pretrained(folder)
    weights = folder / "model.safetensors"
    if not shape.bias:
        kept = {name: values for name, values in load_file(weights).items() if name != "final_logits_bias"}
        save_file(kept, weights, metadata={"format": "pt"})
    if shape.file != weights.name:
        weights.unlink()
        state = {name: tensor for name, tensor in model.state_dict().items() if shape.bias or "bias" not in name[:18]}
        torch.save(state, folder / shape.file)


def run(*words: object) -> None:
    assert door.main([str(word) for word in words]) == 0


def opened(folder: Path) -> tuple[Any, Any]:
    """The model and the tokenizer, as Transformers reads them."""
    model: Any = MarianMTModel.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), MarianTokenizer.from_pretrained(folder)


def largest_differences(peer: Peer, pairs: list[Pair]) -> tuple[float, float]:
    """Of the encoder's states and of the scores, in a batch with padding."""
    batch = peer.tokenizer([pair.source for pair in pairs], padding=True, return_tensors="pt")
    labels = peer.tokenizer(text_target=[pair.target for pair in pairs], padding=True, return_tensors="pt").input_ids
    start = torch.full((len(pairs), 1), peer.model.config.decoder_start_token_id)
    given = torch.cat([start, labels[:, :-1]], dim=1)
    with torch.no_grad():
        found = peer.model(**batch, decoder_input_ids=given)
    real = batch.attention_mask.bool().numpy()
    assert not real.all()
    source = jnp.asarray(np.where(real, batch.input_ids.numpy(), -1), jnp.int32)
    model = peer.translator.model
    memory = jax.jit(lambda model, source: model.encode(source))(model, source)
    scores = jax.jit(lambda model, given, memory: model.decode(given, memory))(model, jnp.asarray(given), memory)
    states = np.abs(np.asarray(memory.states) - found.encoder_last_hidden_state.numpy())[real]
    assert found.logits.std() > 0.5  # so that a difference would show
    return float(states.max()), float(np.abs(np.asarray(scores) - found.logits.numpy()).max())


ODD_LINES = [
    "", " ", "  two  spaces  ", "\u00a0", ".", "?!", "日本語", "Ein 日本 dog.", "🙂 dog", "naïve Ünïcödé", "n\u0303",
    "ﬁne ½ ①", "a\tb", "\u200bzero\ufeff", "▁", "▁dog ▁ the", "<s>", "< / s >", "<0x41>", "<unk", "&amp;", "x" * 300,
    "https://a.b/c?d=e#f", ">>deu<< The dog sleeps.", ">>nds<<The dog.", ">>deu<<", ">>deu<<   ",
    ">>deu<< >>nds<< The dog.", " >>deu<< The dog.", "The >>deu<< dog.", ">>", "<<", ">>deu<",
    "١٢٣", "ДОМ дом", "\u2028a\u2029b", "\ufffd",
]  # fmt: skip


def ids_of(tokenizer: Tokenizer, lines: list[str]) -> list[list[int]]:
    return [[*ids, tokenizer.eos_id] for ids in tokenizer.encode(lines)]


class Found(NamedTuple):
    ids: list[int]  # the end included
    score: float


def generated(peer: Peer, lines: list[str], most: int, **settings: Any) -> list[Found]:
    """By Transformers, at most `most` tokens each; the lines have the same number of tokens."""
    end = peer.model.config.eos_token_id
    batch = peer.tokenizer(lines, return_tensors="pt")
    found = peer.model.generate(
        **batch, max_new_tokens=most, return_dict_in_generate=True, output_scores=True, **settings
    )
    scores = found.sequences_scores.tolist() if "sequences_scores" in found else [0.0] * len(lines)
    rows = [[*takewhile(lambda index: index != end, row[1:].tolist()), end] for row in found.sequences]
    return [Found(row, score) for row, score in zip(rows, scores, strict=True)]


def exported(place: Path, model: Path) -> Path:
    (place / "lines").write_text("The dog sleeps.\n", encoding="utf8")
    run("export", place / "marian", "--model", model, "--to", "marian", "--check", place / "lines")
    return place / "marian"
