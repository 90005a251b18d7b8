"""Exports models to CTranslate2 (Klein et al. 2020), an engine for translation models on CPUs and GPUs in production.

Writes model.bin, config.json and the vocabulary for CTranslate2, the SentencePiece models, and a README.md that shows
how to translate with them.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import jax.numpy as jnp
import numpy as np
from ctranslate2.specs import TransformerSpec
from ctranslate2.specs.common_spec import Activation
from sentencepiece import SentencePieceProcessor

from transformer.data.tokenizer import Tokenizers
from transformer.data.vocabulary import ImportedTokenizer
from transformer.errors import UsageError, one_line
from transformer.interop.supported import ANY, COMMON, Parameters, Values, check_pieces, check_settings
from transformer.model.layers import sinusoids
from transformer.model.transformer import Transformer
from transformer.translation.model_config import ModelConfig

PROGRAM = "CTranslate2"
MIN_POSITIONS = 1024  # rows of the exported sinusoidal table, because CTranslate2 does not compute one
ACTIVATIONS = {"relu": Activation.RELU, "gelu": Activation.GELU, "silu": Activation.SWISH}
SUPPORTED: dict[str, Values] = COMMON | {
    "model.activation": tuple(ACTIVATIONS),
    "model.norm": ("pre", "post"),
    "model.norm_epsilon": ANY,
    "model.positions": ("sinusoidal", "learned"),
    "decode.stop": ("full",),
}

Take = Callable[[str], np.ndarray]  # returns a parameter of one layer by its name in the layer


def check(tokenizers: Tokenizers, config: ModelConfig) -> None:
    """Raises UsageError if CTranslate2 does not support the model."""
    check_settings(PROGRAM, config, SUPPORTED)
    source, target = tokenizers.source, tokenizers.target
    check_pieces(PROGRAM, tokenizers)
    for kind, ids in (("end", (source.eos_id, target.eos_id)), ("unknown", (source.unk_id, target.unk_id))):
        (of_source,), (of_target,) = source.pieces(ids[:1]), target.pieces(ids[1:])
        if of_source != of_target:
            raise UsageError(
                f"the {kind} symbol is {of_source} in the source and {of_target} in the target; CTranslate2 has one"
            )


def exporter(
    model: Transformer, tokenizers: Tokenizers, config: ModelConfig, quantization: str = "float32"
) -> Callable[[Path], None]:
    """Returns a function that writes the model into a directory. Raises UsageError for an unsupported model."""
    check(tokenizers, config)
    spec = _specification(Parameters(model), config)
    target = tokenizers.target
    spec.register_source_vocabulary(tokenizers.source.all_pieces)
    spec.register_target_vocabulary(target.all_pieces)
    start, end, unknown = target.pieces([target.bos_id, target.eos_id, target.unk_id])
    spec.config.bos_token = spec.config.decoder_start_token = start
    spec.config.eos_token, spec.config.unk_token = end, unknown
    spec.config.add_source_eos = True
    spec.config.layer_norm_epsilon = config.model.norm_epsilon

    def write(directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        spec.validate()
        spec.optimize(quantization=quantization)
        spec.save(str(directory))
        tokenizers.save(directory)
        (directory / "README.md").write_text(_readme(tokenizers, config), encoding="utf8")

    return write


def _specification(parameters: Parameters, config: ModelConfig) -> TransformerSpec:
    """Returns the parameters in the structure of CTranslate2. Raises UsageError if one has no place there."""
    settings = config.model
    spec = TransformerSpec.from_config(
        (settings.encoder_layers, settings.decoder_layers),
        settings.num_heads,
        pre_norm=settings.norm == "pre",
        activation=ACTIVATIONS[settings.activation],
    )
    target_side = "source" if settings.tie_embeddings == "all" else "target"
    output_side = "output" if settings.tie_embeddings == "none" else target_side
    positions = max(MIN_POSITIONS, config.max_target_length(config.max_length))
    for side, embeddings, name, table_side in (
        (spec.encoder, spec.encoder.embeddings[0], "source", "source"),
        (spec.decoder, spec.decoder.embeddings, "target", target_side),
    ):
        embeddings.weight = _copy(parameters[f"{table_side}_embedding.table"])
        side.scale_embeddings = math.sqrt(settings.d_model) if settings.scale_embeddings else 1.0
        learned = settings.positions == "learned"
        table = parameters[f"{name}_positions"] if learned else sinusoids(jnp.arange(positions), settings.d_model)
        side.position_encodings.encodings = _copy(table)
    if settings.norm == "pre":
        _set_norm(spec.encoder.layer_norm, parameters.__getitem__, "encoder_norm")
        _set_norm(spec.decoder.layer_norm, parameters.__getitem__, "decoder_norm")
    for number, layer in enumerate(spec.encoder.layer):
        _set_encoder_layer(layer, lambda name, number=number: parameters[f"encoder.{name}"][number])
    for number, layer in enumerate(spec.decoder.layer):
        _set_decoder_layer(layer, lambda name, number=number: parameters[f"decoder.{name}"][number])
    spec.decoder.projection.weight = _copy(parameters[f"{output_side}_embedding.table"])
    if settings.output_bias:
        spec.decoder.projection.bias = _copy(parameters["output_bias"])
    parameters.check_all_read(PROGRAM)
    return spec


def _set_encoder_layer(spec: Any, take: Take) -> None:
    _set_self_attention(spec.self_attention, take, "attention_residual.norm")
    _set_feed_forward(spec.ffn, take)


def _set_decoder_layer(spec: Any, take: Take) -> None:
    _set_self_attention(spec.self_attention, take, "self_attention_residual.norm")
    _set_linear(spec.attention.linear[0], take, "cross_attention.query")
    _set_linear(spec.attention.linear[1], take, "cross_attention.key", "cross_attention.value")
    _set_linear(spec.attention.linear[2], take, "cross_attention.out")
    _set_norm(spec.attention.layer_norm, take, "cross_attention_residual.norm")
    _set_feed_forward(spec.ffn, take)


def _set_self_attention(spec: Any, take: Take, norm: str) -> None:
    _set_linear(spec.linear[0], take, *(f"self_attention.{name}" for name in ("query", "key", "value")))
    _set_linear(spec.linear[1], take, "self_attention.out")
    _set_norm(spec.layer_norm, take, norm)


def _set_feed_forward(spec: Any, take: Take) -> None:
    _set_linear(spec.linear_0, take, "feed_forward.up")
    _set_linear(spec.linear_1, take, "feed_forward.down")
    _set_norm(spec.layer_norm, take, "feed_forward_residual.norm")


def _set_linear(spec: Any, take: Take, *maps: str) -> None:
    """Joins linear layers with the same input into one, as CTranslate2 stores them, with weights [outputs, inputs]."""
    spec.weight = np.concatenate([_copy(take(f"{name}.kernel")).T for name in maps])
    spec.bias = np.concatenate([_copy(take(f"{name}.bias")) for name in maps])


def _set_norm(spec: Any, take: Take, norm: str) -> None:
    spec.gamma, spec.beta = _copy(take(f"{norm}.scale")), _copy(take(f"{norm}.bias"))


def _copy(values: Any) -> np.ndarray:
    """Returns a copy of the values in float32, because CTranslate2 quantizes in place."""
    return np.array(values, np.float32)


class CTranslate2:
    """Runs an exported model with CTranslate2, as a `Peer` of agreement.py."""

    def __init__(self, directory: Path, tokenizers: Tokenizers, config: ModelConfig):
        self.name = f"CTranslate2 {ctranslate2.__version__}"
        self._options = options(tokenizers, config)
        self._translator = ctranslate2.Translator(str(directory), device="cpu")
        self._source, self._pieces = tokenizers.source, tokenizers.source.pieces
        self._ids = {piece: index for index, piece in enumerate(tokenizers.source.all_pieces)}
        self._encode = SentencePieceProcessor(model_file=str(directory / tokenizers.files[0])).encode

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """As the README.md of the exported model does."""
        tagged = [self._source.split_tag(line) for line in lines]
        split = self._encode([text for _, text in tagged], out_type=str)
        unknown = self._source.unk_id
        return [
            [*tag, *(self._ids.get(piece, unknown) for piece in pieces)]
            for (tag, _), pieces in zip(tagged, split, strict=True)
        ]

    def translate(self, sources: Sequence[Sequence[int]], beam_size: int, max_tokens: int) -> list[list[str]]:
        results = self._translator.translate_batch(
            [self._pieces(ids[:-1]) for ids in sources],
            **(self._options | {"beam_size": beam_size, "max_decoding_length": max_tokens}),
        )
        return [result.hypotheses[0] for result in results]

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[str]]) -> list[list[float]]:
        found = self._translator.score_batch(
            [self._pieces(ids[:-1]) for ids in sources], [list(pieces) for pieces in targets], max_input_length=0
        )
        return [result.log_probs for result in found]


# The README.md of an exported model

README = """# A translation model for CTranslate2: {source} -> {target}

{about}`pip install ctranslate2 sentencepiece`, and then, in this folder:

```python
{imports}import ctranslate2
import sentencepiece

translator = ctranslate2.Translator(".", device="auto")
source = sentencepiece.SentencePieceProcessor("{source_model}")
target = sentencepiece.SentencePieceProcessor("{target_model}")


def translate(lines: list[str]) -> list[str]:
{tokens}
    found = translator.translate_batch(
        tokens,
{options}
    )
    return [target.decode(result.hypotheses[0]){spaces} for result in found]


for line in translate([{example}]):
    print(line)
```

The model was trained on lines of at most {max_length} tokens: split longer ones into sentences.
"""

PLAIN = "    tokens = source.encode(lines, out_type=str)"
WITH_TAGS = """    tokens = []
    for line in lines:  # as in ">>fra<< A line.": a tag for the target language comes first
        tag, text = re.fullmatch("(>>[^<>]+<<)?(.*)", line).groups()
        tokens.append([tag] * bool(tag) + source.encode(text, out_type=str))"""


def options(tokenizers: Tokenizers, config: ModelConfig) -> dict[str, Any]:
    """Returns the options of `translate_batch` with which CTranslate2 translates like this package.

    The symbols for padding, start and unknown are forbidden in the output. This is not needed if the tokenizer encodes
    unknown characters as bytes: the model has then never seen these symbols as targets, so it does not produce them.
    CTranslate2 removes forbidden tokens before the softmax, and this package after it, so their scores differ slightly.
    """
    target, decode = tokenizers.target, config.decode
    found = {
        "beam_size": decode.beam_size,
        "length_penalty": decode.length_penalty,
        "max_input_length": 0,
        "min_decoding_length": decode.min_length,
        "max_decoding_length": config.max_target_length(config.max_length),
    }
    if target.spells_everything:
        return found
    never = [[piece] for piece in target.pieces(index for index in target.never_ids if index != target.unk_id)]
    return found | {"disable_unk": target.unk_id in target.never_ids, "suppress_sequences": never}


def _readme(tokenizers: Tokenizers, config: ModelConfig) -> str:
    """Returns the text of the README.md, which depends only on the model."""
    target = tokenizers.target
    return README.format(
        source=one_line(config.source),
        target=one_line(config.target),
        about="".join(f"{one_line(line)}\n\n" for line in config.about.lines()),
        imports="import re\n\n" if tokenizers.source.max_tags else "",
        source_model=tokenizers.files[0],
        target_model=tokenizers.files[1],
        tokens=WITH_TAGS if tokenizers.source.max_tags else PLAIN,
        options="\n".join(f"        {key}={value!r}," for key, value in options(tokenizers, config).items()),
        spaces='.replace("▁", " ").strip()' if isinstance(target, ImportedTokenizer) else "",
        example=json.dumps(f"{next(iter(tokenizers.source.tags), '')} A line.".strip(), ensure_ascii=False),
        max_length=config.max_length,
    )
