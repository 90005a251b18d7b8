"""Checks that another program supports each setting and each parameter of a model.

An exporter that overlooks a setting would write a different model. So each exporter lists the values that its program
supports, and all other values are refused.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from transformer.data.tokenizer import Tokenizers
from transformer.errors import UsageError
from transformer.model.parameters import named
from transformer.model.transformer import Transformer
from transformer.translation.model_config import ModelConfig

Values = Collection[Any] | None  # the supported values of a setting; None: any
ANY: Values = None
COMMON: dict[str, Values] = {  # the settings for which every exporter supports the same values
    "model.d_model": ANY, "model.d_ff": ANY, "model.num_heads": ANY,
    "model.encoder_layers": ANY, "model.decoder_layers": ANY,
    "model.dropout": ANY, "model.attention_dropout": ANY,  # used only in training
    "model.scale_embeddings": (True, False), "model.output_bias": (True, False),
    "model.tie_embeddings": ("all", "decoder", "none"),
    "model.max_positions": ANY,  # used only with learned positions
    "model.compute_dtype": ANY, "model.remat": ANY,  # affects only how the result is computed
    "decode.beam_size": ANY, "decode.length_penalty": ANY, "decode.min_length": ANY,
    "decode.max_ratio": ANY, "decode.max_extra": ANY,  # exported as one limit for all: that of the longest
    "decode.batch_tokens": ANY,
}  # fmt: skip


def check_settings(program: str, config: ModelConfig, supported: Mapping[str, Values]) -> None:
    """Raises UsageError for the first setting of [model] or [decode] that the program does not support.

    `supported` has the supported values by dotted key. A setting that is not in it is refused, whatever its value.
    """
    for section in ("model", "decode"):
        for name, value in getattr(config, section).model_dump().items():
            key = f"{section}.{name}"
            if key not in supported:
                raise UsageError(f"{key} = {value!r}: {program} does not support this setting")
            values = supported[key]
            if values is not None and value not in values:
                known = " or ".join(map(repr, values))
                remedy = "train a model with that setting, or export to another program"
                if section == "decode":
                    remedy = f"add --{key.replace('_', '-')} {next(iter(values))} to export the model with that"
                raise UsageError(f"{key} = {value!r}: {program} supports only {known}; {remedy}")


def check_pieces(program: str, tokenizers: Tokenizers) -> None:
    """Raises UsageError if two ids of a vocabulary have the same piece, because some programs know only pieces."""
    for side, tokenizer in (("source", tokenizers.source), ("target", tokenizers.target)):
        piece, count = Counter(tokenizer.all_pieces).most_common(1)[0]
        if count > 1:
            raise UsageError(f"the {side} vocabulary has the piece {piece!r} twice; {program} needs a name for each id")


class Parameters(dict[str, np.ndarray]):
    """The parameters of a model by name. Records which ones were read, for `check_all_read`."""

    def __init__(self, model: Transformer) -> None:
        super().__init__({name: np.asarray(value) for name, value in named(model).items()})
        self._unread = set(self)

    def __getitem__(self, name: str) -> np.ndarray:
        self._unread.discard(name)
        return super().__getitem__(name)

    def check_all_read(self, program: str) -> None:
        """Raises UsageError if the export has not read a parameter of the model, so that the export would lack it."""
        if self._unread:
            raise UsageError(f"{program} has no equivalent of the parameter {min(self._unread)}")
