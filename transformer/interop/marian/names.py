"""The names of parameters in Hugging Face's MarianMTModel (Junczys-Dowmunt et al. 2018; OPUS-MT) and in this package.

A Marian model has layer norms after the sublayers and none at the end, and sinusoidal positions (sines first, then
cosines). It starts a translation with the padding symbol, whose embedding is zero. Its linear maps are stored as
[outputs, inputs].
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from transformer.config import Model
from transformer.config.section import NonNegative, Size
from transformer.errors import UsageError

EPSILON = 1e-5  # of its layer norms, which no config states
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "silu": "silu", "swish": "silu"}  # its names -> names of this package
POSITIONS = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")
# decode.stop -> early_stopping
EARLY_STOPPING: dict[str, bool | str] = {"full": True, "unlikely": False, "certain": "never"}

_MAPS = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}
_ENCODER = {  # parts of a layer
    **{f"self_attn.{theirs}": f"self_attention.{ours}" for theirs, ours in _MAPS.items()},
    "self_attn_layer_norm": "attention_residual.norm",
    "fc1": "feed_forward.up",
    "fc2": "feed_forward.down",
    "final_layer_norm": "feed_forward_residual.norm",
}
_DECODER = _ENCODER | {
    "self_attn_layer_norm": "self_attention_residual.norm",
    **{f"encoder_attn.{theirs}": f"cross_attention.{ours}" for theirs, ours in _MAPS.items()},
    "encoder_attn_layer_norm": "cross_attention_residual.norm",
}
_TABLES = {  # tie_embeddings -> table -> its possible names in Marian; the first one is written
    "all": {
        "source_embedding.table": (
            "model.shared.weight", "lm_head.weight", "model.encoder.embed_tokens.weight",
            "model.decoder.embed_tokens.weight",
        ),
    },
    "decoder": {
        "source_embedding.table": ("model.encoder.embed_tokens.weight", "model.shared.weight"),
        "target_embedding.table": ("model.decoder.embed_tokens.weight", "lm_head.weight", "model.shared.weight"),
    },
    "none": {
        "source_embedding.table": ("model.encoder.embed_tokens.weight", "model.shared.weight"),
        "target_embedding.table": ("model.decoder.embed_tokens.weight", "model.shared.weight"),
        "output_embedding.table": ("lm_head.weight",),
    },
}  # fmt: skip
BIAS = "final_logits_bias"


class MarianFields(BaseModel):
    """The types of the settings that are used before the settings of this package are checked. All are optional."""

    model_config = ConfigDict(strict=True)

    vocab_size: Size = 1
    decoder_vocab_size: Size | None = None
    pad_token_id: NonNegative = 0
    eos_token_id: NonNegative = 0
    decoder_start_token_id: NonNegative = 0
    bad_words_ids: list[list[NonNegative]] | None = None
    activation_function: str = ""
    early_stopping: bool | str | None = None
    scale_embedding: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0


class _Place(NamedTuple):
    """A parameter of one layer."""

    theirs: str
    ours: str
    layer: int
    is_matrix: bool


def _places(settings: Model) -> Iterator[_Place]:
    sides = (("encoder", _ENCODER, settings.encoder_layers), ("decoder", _DECODER, settings.decoder_layers))
    for side, names, layers in sides:
        for theirs, ours in names.items():
            weight = "scale" if ours.endswith("norm") else "kernel"
            for layer in range(layers):
                prefix = f"model.{side}.layers.{layer}.{theirs}"
                yield _Place(f"{prefix}.weight", f"{side}.{ours}.{weight}", layer, weight == "kernel")
                yield _Place(f"{prefix}.bias", f"{side}.{ours}.bias", layer, False)


def to_marian(parameters: Mapping[str, np.ndarray], settings: Model) -> dict[str, np.ndarray]:
    """Returns the tensors of a MarianMTModel by its names; tied tables occur once."""
    tensors = {}
    for place in _places(settings):
        values = parameters[place.ours][place.layer]
        tensors[place.theirs] = np.ascontiguousarray(values.T if place.is_matrix else values)
    for ours, theirs in _TABLES[settings.tie_embeddings].items():
        tensors[theirs[0]] = parameters[ours]
    if settings.output_bias:
        tensors[BIAS] = parameters["output_bias"][None, :]
    return tensors


def from_marian(tensors: dict[str, np.ndarray], settings: Model) -> dict[str, np.ndarray]:
    """Returns the parameters by the names of this package.

    Raises UsageError with the name of a tensor that is missing, unknown or of another shape than in other layers.
    """
    known = {place.theirs for place in _places(settings)} | {*POSITIONS, BIAS}
    known |= {name for names in _TABLES["all"].values() for name in names}
    for name in sorted(tensors.keys() - known):
        raise UsageError(f"the tensor {name} does not belong to a MarianMTModel")
    layers: dict[str, list[np.ndarray]] = {}
    for place in _places(settings):
        values = _first(tensors, place.theirs)
        layers.setdefault(place.ours, []).append(values.T if place.is_matrix else values)
    parameters = {}
    for ours, values in layers.items():
        shapes = {value.shape for value in values}
        if len(shapes) > 1:
            raise UsageError(f"the tensors for {ours} have different shapes in different layers: {sorted(shapes)}")
        parameters[ours] = np.stack(values)
    for ours, names in _TABLES[settings.tie_embeddings].items():
        parameters[ours] = _first(tensors, *names)
    if settings.output_bias:
        parameters["output_bias"] = _first(tensors, BIAS).reshape(-1)
    return parameters


def _first(tensors: dict[str, np.ndarray], *names: str) -> np.ndarray:
    """Returns the tensor for the first of the names that is in `tensors`. Raises UsageError if none is."""
    for name in names:
        if name in tensors:
            return tensors[name]
    raise UsageError(f"the tensor {names[0]} is missing")
