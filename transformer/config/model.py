"""[model]: the shape of the Transformer. The letters for dimensions are listed in docs/architecture.md."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from transformer.config.section import CHANGES_RESULT, FIXED, Count, Depth, Rate, Section, Size


class Model(Section):
    """The shape of the Transformer."""

    d_model: Annotated[int, Field(ge=1, le=1 << 16), FIXED] = 512
    """D: width of the residual stream"""
    d_ff: Annotated[Size, FIXED] = 2048
    """F: hidden width of the feed-forward layers"""
    num_heads: Annotated[Count, FIXED] = 8
    """H: attention heads, each of width C = D / H"""
    encoder_layers: Annotated[Depth, FIXED] = 6
    """N: layers of the encoder"""
    decoder_layers: Annotated[Depth, FIXED] = 6
    """N: layers of the decoder"""
    dropout: Annotated[Rate, CHANGES_RESULT] = 0.1
    """fraction of the outputs of sublayers and of the embeddings that is dropped in training"""
    attention_dropout: Annotated[Rate, CHANGES_RESULT] = 0.0
    """fraction of the attention weights that is dropped in training"""
    activation: Annotated[Literal["relu", "gelu", "silu"], FIXED] = "relu"
    """nonlinearity of the feed-forward layers"""
    norm: Annotated[Literal["pre", "post"], FIXED] = "pre"
    """layer norm before each sublayer (trains easily) or after it (as in the paper of 2017)"""
    norm_epsilon: Annotated[float, Field(gt=0), FIXED] = 1e-5
    """added to the variance in a layer norm"""
    scale_embeddings: Annotated[bool, FIXED] = True
    """multiply embeddings by the square root of their width, as in the paper of 2017"""
    output_bias: Annotated[bool, FIXED] = False
    """add a bias to the logits, as Marian does"""
    positions: Annotated[Literal["sinusoidal", "learned"], FIXED] = "sinusoidal"
    """how the model represents the position of a token"""
    max_positions: Annotated[Size, FIXED] = 512
    """longest sentence, in tokens, that learned positions can represent"""
    tie_embeddings: Annotated[Literal["all", "decoder", "none"], FIXED] = "all"
    """which embeddings share one table: all (source, target, output), decoder (target, output), none"""
    compute_dtype: Annotated[Literal["auto", "float32", "bfloat16"], CHANGES_RESULT] = "auto"
    """precision of activations and matrix products (auto: bfloat16 on GPU and TPU, float32 on CPU)"""
    remat: Annotated[bool, CHANGES_RESULT] = False
    """recompute activations in the backward pass: less memory, about a third more time"""

    @model_validator(mode="after")
    def _check_divisibility(self) -> Self:
        if self.d_model % self.num_heads:
            raise ValueError(f"model.d_model: {self.d_model} is not divisible by model.num_heads = {self.num_heads}")
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"model.d_model: {self.d_model} is odd; sinusoidal positions need it even")
        return self
