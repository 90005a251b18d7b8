"""Every setting of a run: its default, its meaning and its bounds, once.

A config file says only what differs from here. Values come from the defaults, then the TOML file, then the flags
(`--section.key VALUE`); all three go through the same checks, before anything is computed.
"""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Size = Annotated[int, Field(ge=1, le=1 << 20)]  # so that a model of strangers cannot ask for any amount of memory
Depth = Annotated[int, Field(ge=1, le=1 << 10)]
NonNegative = Annotated[int, Field(ge=0)]
Updates = Annotated[int, Field(ge=0, le=1 << 30)]  # the optimizer counts them in 32 bits
Rate = Annotated[float, Field(ge=0, lt=1)]
ALL, MEAN = "all", "mean"  # of several validation corpora: see `Train.best_corpus`
FreeText = Annotated[str, Field(max_length=10_000)]  # limits the size of text in an untrusted model


def expand_home(path: str) -> str:
    """The path with a leading `~` replaced by the home directory, as a shell does. Raises ValueError without one."""
    full = os.path.expanduser(path)
    if full.startswith("~"):
        home = path.split("/")[0]
        raise ValueError(f"{path!r}: there is no home directory {home}; write it in full, or ./{home} for that name")
    return full


UserPath = Annotated[str, AfterValidator(expand_home)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Data(Section):
    """Which pairs of sentences to learn from."""

    source: str = ""
    """language code of the source, and the suffix of its files"""
    target: str = ""
    """language code of the target, and the suffix of its files"""
    train: tuple[UserPath, ...] = ()
    """corpora: PREFIX (for PREFIX.en and PREFIX.de, .gz too), FILE.tsv, FILE.jsonl, FILE.parquet,
    hf:NAME[:CONFIG]:SPLIT, builtin:clauses"""
    valid: tuple[UserPath, ...] = ()
    """corpora to validate on, named in the same way; several get a score each (see train.best_corpus)"""
    max_length: Annotated[int, Field(ge=2, le=1 << 20)] = 128
    """tokens a side, end of sentence included; longer pairs are left out, and counted"""
    max_ratio: Annotated[float, Field(ge=1)] = 9.0
    """tokens of the longer side over those of the shorter; pairs beyond it are left out, and counted"""
    max_left_out: Annotated[float, Field(ge=0, le=1)] = 0.1
    """share of the pairs that may be left out, for whatever reason; a corpus that loses more is refused"""
    strict: bool = False
    """refuse a corpus whose sides look shifted against each other, instead of warning"""
    buckets: Annotated[int, Field(ge=1, le=64)] = 10
    """shapes of training batches: more of them waste less on padding, and take longer to compile"""


class Tokenizer(Section):
    """SentencePiece: trained on the corpus, or taken from files."""

    models: tuple[UserPath, ...] = ()
    """SentencePiece models to use as they are: one for both sides, or source and target; none: train"""
    kind: Literal["unigram", "bpe"] = "unigram"
    """the subword algorithm"""
    vocab_size: Annotated[int, Field(ge=16, le=1 << 20)] = 16000
    """pieces a model, the four control and unknown symbols included"""
    shared: bool = True
    """one model for both sides, or one a side"""
    byte_fallback: bool = True
    """spell what has no piece as bytes, so that nothing is unknown (takes 256 pieces)"""
    character_coverage: Annotated[float, Field(ge=0.98, le=1)] = 0.9995
    """share of the corpus' characters that get a piece of their own"""
    normalization: Literal["nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity"] = "nmt_nfkc"
    """SentencePiece's normalisation of text (cf: case folded)"""
    train_lines: Count = 2_000_000
    """lines a side that the training reads at most, spread over the corpus"""


class Model(Section):
    """The shape of the Transformer."""

    d_model: Annotated[int, Field(ge=1, le=1 << 16)] = 512
    """D: width of the residual stream"""
    d_ff: Size = 2048
    """F: hidden width of the feed-forward layers"""
    num_heads: Count = 8
    """H: attention heads"""
    encoder_layers: Depth = 6
    """N of the encoder"""
    decoder_layers: Depth = 6
    """N of the decoder"""
    dropout: Rate = 0.1
    """share of the residuals and of the embeddings that is dropped in training"""
    attention_dropout: Rate = 0.0
    """share of the attention weights that is dropped in training"""
    activation: Literal["relu", "gelu", "silu"] = "relu"
    """non-linearity of the feed-forward layers"""
    norm: Literal["pre", "post"] = "pre"
    """layer norm before each sublayer (trains easily) or after (as in the paper of 2017)"""
    norm_epsilon: Annotated[float, Field(gt=0)] = 1e-5
    """added to the variance in a layer norm"""
    scale_embeddings: bool = True
    """multiply embeddings by the square root of their width, as in the paper of 2017"""
    output_bias: bool = False
    """add a bias to the scores of the vocabulary, as Marian does"""
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"
    """how a token knows its place"""
    max_positions: Size = 512
    """longest sentence, in tokens, that learned positions can place"""
    tie_embeddings: Literal["all", "decoder", "none"] = "all"
    """what shares one table: source, target and output; target and output; nothing"""
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """precision of matrix products (auto: bfloat16 on GPU and TPU, float32 on CPU)"""
    remat: bool = False
    """recompute activations in the backward pass: less memory, about a third more time"""

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        if self.d_model % self.num_heads:
            raise ValueError(f"model.d_model: {self.d_model} is not divisible by model.num_heads = {self.num_heads}")
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"model.d_model: {self.d_model} is odd; sinusoidal positions need it even")
        return self


class Train(Section):
    """How the model learns."""

    init_from: UserPath = ""
    """model or run directory that gives the first weights, the tokenizer and what a config leaves out; "": none"""
    steps: Annotated[Updates, Field(ge=1)] = 100_000
    """optimizer updates"""
    batch_tokens: Count = 25_000
    """target positions of one update, padding included, over all devices"""
    accumulate: Count = 1
    """parts in which an update is computed one after another: less memory, same result"""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """at its peak"""
    schedule: Literal["inverse_sqrt", "cosine", "constant"] = "inverse_sqrt"
    """course of the learning rate after the warm-up"""
    warmup_steps: Updates = 4000
    """updates in which the learning rate grows linearly to its peak"""
    cooldown_steps: Updates = 0
    """last updates, in which the learning rate also falls linearly to zero"""
    adam_b1: Rate = 0.9
    """decay of Adam's mean of gradients"""
    adam_b2: Rate = 0.98
    """decay of Adam's mean of squared gradients"""
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-9
    """Adam's guard against division by zero"""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """decoupled (AdamW), on matrices only"""
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """longest gradient, as a global norm; 0: any"""
    label_smoothing: Rate = 0.1
    """probability that the loss spreads evenly over the vocabulary"""
    ema_decay: Rate = 0.999
    """decay of the average of the weights, which validation and the saved model use; 0: the last weights"""
    log_every: Count = 50
    """updates between lines of the log"""
    eval_every: Count = 1000
    """updates between validations"""
    save_every: Count = 1000
    """updates between checkpoints"""
    keep: Count = 2
    """checkpoints kept beside the best one"""
    best_metric: Literal["bleu", "chrf", "nll"] = "bleu"
    """what decides on the best model"""
    best_corpus: UserPath = ALL
    """which corpus of data.valid decides on the best model: "all" (their sentences together), "mean" (the mean of their
    scores), or one of them, written as in data.valid"""
    patience: NonNegative = 0
    """validations in a row without a better model after which training ends; 0: never"""


class Decode(Section):
    """How translate searches by default; validation is greedy."""

    beam_size: Annotated[int, Field(ge=1, le=1024)] = 5
    """K: hypotheses kept open; 1: greedy"""
    length_penalty: Annotated[float, Field(ge=0, le=10)] = 1.0
    """alpha in score = log-probability / length^alpha"""
    stop: Literal["full", "unlikely", "certain"] = "full"
    """a sentence is done when K hypotheses have finished (full), and the open ones are worse by now (unlikely to win),
    or cannot become better (certain to lose)"""
    min_length: Annotated[int, Field(ge=0, le=1 << 10)] = 1
    """tokens that a translation has at least, the end not counted"""
    max_ratio: Annotated[float, Field(gt=0, le=1 << 10)] = 2.0
    """a translation has at most max_ratio x source tokens + max_extra tokens"""
    max_extra: Annotated[int, Field(ge=0, le=1 << 16)] = 20
    """see max_ratio"""
    batch_tokens: Annotated[int, Field(ge=1, le=1 << 24)] = 2048
    """source positions decoded at a time, padding included"""


class Mesh(Section):
    """The devices as a grid: batch x parameters split by rows x parameters split by heads and columns."""

    data: Annotated[int, Field(ge=-1)] = -1
    """devices over which a batch is split; -1: all that the other axes leave"""
    fsdp: Count = 1
    """devices over which a batch, the parameters and the optimizer's state are split"""
    tensor: Count = 1
    """devices over which heads, hidden units and the vocabulary are split"""


class About(Section):
    """Free text about the model: kept in its config.json and in exports, never interpreted."""

    name: FreeText = ""
    """what the model is called"""
    licence: FreeText = ""
    """under which terms the model may be used"""
    data: FreeText = ""
    """what it was trained on, and the terms of that data"""

    def lines(self) -> list[str]:
        """The non-empty texts, each as one line: `Licence: ...`."""
        said = {"Name": self.name, "Licence": self.licence, "Data": self.data}
        plain = {key: "".join(sign if sign.isprintable() else " " for sign in text) for key, text in said.items()}
        return [f"{key}: {' '.join(text.split())}" for key, text in plain.items() if text.strip()]


class Config(Section):
    """A run, whole."""

    run_dir: UserPath = ""
    """where the run leaves everything"""
    seed: Annotated[int, Field(ge=0, le=(1 << 32) - 1)] = 1  # JAX drops what is above, without a word
    """of the parameters, the order of the data, and dropout"""
    data: Data = Data()
    tokenizer: Tokenizer = Tokenizer()
    model: Model = Model()
    train: Train = Train()
    decode: Decode = Decode()
    mesh: Mesh = Mesh()
    about: About = About()

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        """Raises ValueError with a text that starts with the key at fault."""
        model, data, train = self.model, self.data, self.train
        given = (data, model, self.decode)  # what they leave out is up to the model of init_from
        is_open = bool(train.init_from) and any(part.model_fields_set != set(type(part).model_fields) for part in given)
        for key, value in (
            ("run_dir", self.run_dir), ("data.source", data.source), ("data.target", data.target),
            ("data.train", data.train), ("data.valid", data.valid),
        ):  # fmt: skip
            if not value and not (is_open and key in ("data.source", "data.target")):
                raise ValueError(f"{key}: missing; set it in the config or with --{key.replace('_', '-')}")
        if is_open:
            return self  # all is checked again once it is known (training/initial.py)
        if train.best_corpus not in (ALL, MEAN, *data.valid):
            known = ", ".join((ALL, MEAN, *data.valid))
            raise ValueError(
                f"train.best_corpus: {train.best_corpus!r} is not a corpus in data.valid; use one of {known}"
            )
        if data.source == data.target:
            raise ValueError(f"data.target: is {data.target!r}, the source language too; name another")
        if model.positions == "learned" and data.max_length > model.max_positions:
            raise ValueError(
                f"data.max_length: {data.max_length} is more than model.max_positions = {model.max_positions}"
            )
        if model.num_heads % self.mesh.tensor:
            raise ValueError(f"mesh.tensor: {self.mesh.tensor} does not divide model.num_heads = {model.num_heads}")
        if self.mesh.data == 0:
            raise ValueError("mesh.data: 0 devices; use a count, or -1 for all that are left")
        if len(self.tokenizer.models) > 2:
            raise ValueError("tokenizer.models: more than two; give one for both sides, or source and target")
        two_models = len(self.tokenizer.models) == 2 or not (self.tokenizer.models or self.tokenizer.shared)
        if two_models and model.tie_embeddings == "all":
            raise ValueError('model.tie_embeddings: "all" needs one tokenizer for both sides; use "decoder" or "none"')
        if self.tokenizer.byte_fallback and not self.tokenizer.models and self.tokenizer.vocab_size <= 260:
            raise ValueError(
                f"tokenizer.vocab_size: {self.tokenizer.vocab_size} leaves no piece beside the 256 bytes and 4 symbols;"
                " raise it or set tokenizer.byte_fallback = false"
            )
        if train.batch_tokens < data.max_length:
            raise ValueError(
                f"train.batch_tokens: {train.batch_tokens} holds no sentence of data.max_length = {data.max_length}"
            )
        return self

    @property
    def directory(self) -> Path:
        return Path(self.run_dir)
