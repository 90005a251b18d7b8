"""The names of parameters in Hugging Face's MarianMTModel (Junczys-Dowmunt et al. 2018; OPUS-MT) and in this package.

A Marian model has layer norms after the sublayers and none at the end, and sinusoidal positions (sines first, then
cosines). It starts a translation with the padding symbol, whose embedding is zero. The weights of its linear layers
have the shape [outputs, inputs].
"""

from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict

from transformer.config import Model
from transformer.config.section import NonNegative, Size
from transformer.errors import UsageError

EPSILON = 1e-5  # of Marian's layer norms; it is not in the config.json of a model
# names in Marian -> names in this package
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "silu": "silu", "swish": "silu"}
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
_SHARED, _OUTPUT = "model.shared.weight", "lm_head.weight"
_SOURCE, _TARGET = "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"
_TABLES = {  # tie_embeddings -> table -> its possible names in Marian; the first one is used for exports
    "all": {"source_embedding.table": (_SHARED, _OUTPUT, _SOURCE, _TARGET)},
    "decoder": {
        "source_embedding.table": (_SOURCE, _SHARED),
        "target_embedding.table": (_TARGET, _OUTPUT, _SHARED),
    },
    "none": {
        "source_embedding.table": (_SOURCE, _SHARED),
        "target_embedding.table": (_TARGET, _SHARED),
        "output_embedding.table": (_OUTPUT,),
    },
}
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


def _places(settings: Model) -> dict[str, tuple[str, int]]:
    """Maps the Marian name of each parameter of a layer to its name in this package and the number of the layer."""
    places = {}
    sides = (("encoder", _ENCODER, settings.encoder_layers), ("decoder", _DECODER, settings.decoder_layers))
    for side, names, layers in sides:
        for theirs, ours in names.items():
            weight = "scale" if ours.endswith("norm") else "kernel"
            for layer in range(layers):
                prefix = f"model.{side}.layers.{layer}.{theirs}"
                places[f"{prefix}.weight"] = f"{side}.{ours}.{weight}", layer
                places[f"{prefix}.bias"] = f"{side}.{ours}.bias", layer
    return places


def _transposed(ours: str, values: np.ndarray) -> np.ndarray:
    """Converts values between the layouts of this package and of MarianMTModel, in either direction."""
    return values.T if ours.endswith(".kernel") else values


def to_marian(parameters: Mapping[str, np.ndarray], settings: Model) -> dict[str, np.ndarray]:
    """Returns the parameters under the names of MarianMTModel. Tied embedding tables occur only once."""
    tensors = {}
    for theirs, (ours, layer) in _places(settings).items():
        tensors[theirs] = np.ascontiguousarray(_transposed(ours, parameters[ours][layer]))
    for ours, theirs in _TABLES[settings.tie_embeddings].items():
        tensors[theirs[0]] = parameters[ours]
    if settings.output_bias:
        tensors[BIAS] = parameters["output_bias"][None, :]
    return tensors


def from_marian(tensors: dict[str, np.ndarray], settings: Model) -> dict[str, np.ndarray]:
    """Returns the parameters under the names that this package uses.

    Raises UsageError if a tensor is missing or unknown, or if its shape is not the same in all layers.
    """
    places = _places(settings)
    known = {*places, *POSITIONS, BIAS, *_TABLES["all"]["source_embedding.table"]}
    for name in sorted(tensors.keys() - known):
        raise UsageError(f"the tensor {name} does not belong to a MarianMTModel")
    layers: dict[str, list[np.ndarray]] = {}
    for theirs, (ours, _) in places.items():
        layers.setdefault(ours, []).append(_transposed(ours, _first(tensors, theirs)))
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
