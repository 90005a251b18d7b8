"""Every setting of a run, with its default, meaning, bounds and the effect of changing it later: one file per section.

A config file states only the settings that differ from the defaults. Flags (`--section.key VALUE`) override the TOML
file, the TOML file overrides the values that a run has recorded, and these override the defaults. All values pass the
same checks before anything is computed (loading.py).
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from transformer.config.about import About
from transformer.config.data import CorpusTable, Data, corpus_name
from transformer.config.decode import Decode, Lines, Sampling
from transformer.config.mesh import Mesh
from transformer.config.model import Model
from transformer.config.section import CHANGES_RESULT, HARMLESS, Section, UserPath
from transformer.config.tokenizer import Tokenizer
from transformer.config.train import ALL, MEAN, Train

__all__ = [
    "About", "Config", "CorpusTable", "Data", "Decode", "Lines", "Mesh", "Model", "Sampling", "Tokenizer", "Train",
    "corpus_name",
]  # fmt: skip


class Config(Section):
    """All settings of a run."""

    run_dir: Annotated[UserPath, HARMLESS] = ""
    """directory to which the run writes everything"""
    seed: Annotated[int, Field(ge=0, le=(1 << 32) - 1), CHANGES_RESULT] = 1  # JAX silently drops higher bits
    """seed of the parameters, the order of the data, and dropout"""
    data: Data = Data()
    tokenizer: Tokenizer = Tokenizer()
    model: Model = Model()
    train: Train = Train()
    decode: Decode = Decode()
    mesh: Mesh = Mesh()
    about: About = About()

    @property
    def directory(self) -> Path:
        return Path(self.run_dir)

    @property
    def is_incomplete(self) -> bool:
        """Whether some settings are still to be taken from the model of train.init_from (run/initial_model.py)."""
        given = (self.data, self.model, self.decode)
        return bool(self.train.init_from) and any(one.model_fields_set != set(type(one).model_fields) for one in given)

    @model_validator(mode="after")
    def _check_required(self) -> Self:
        """Raises ValueError if a required setting is missing. The message starts with its key."""
        for key, value in (
            ("run_dir", self.run_dir),
            ("data.source", self.data.source or self.is_incomplete),
            ("data.target", self.data.target or self.is_incomplete),
            ("data.train", self.data.train),
            ("data.valid", self.data.valid),
        ):
            if not value:
                raise ValueError(f"{key}: missing; set it in the config or with --{key.replace('_', '-')}")
        return self

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        """Raises ValueError if settings do not fit together. The message starts with the key of one of them."""
        if self.is_incomplete:
            return self
        model, data, train, tokenizer = self.model, self.data, self.train, self.tokenizer
        names = (ALL, MEAN, *map(corpus_name, data.valid))
        if train.best_corpus not in names:
            raise ValueError(
                f"train.best_corpus: {train.best_corpus!r} is not in data.valid; use one of {', '.join(names)}"
            )
        if len({spec for spec in data.valid if corpus_name(spec) == train.best_corpus}) > 1:
            raise ValueError(
                f"train.best_corpus: {train.best_corpus!r} is in data.valid with several choices of columns; use"
                " another name for one of them, such as that of a link to the file"
            )
        if data.source == data.target:
            raise ValueError(f"data.target: {data.target!r} is the source language too; use another code")
        if model.positions == "learned" and data.max_length > model.max_positions:
            raise ValueError(
                f"data.max_length: {data.max_length} is more than model.max_positions = {model.max_positions}"
            )
        if model.num_heads % self.mesh.tensor:
            raise ValueError(f"mesh.tensor: {self.mesh.tensor} does not divide model.num_heads = {model.num_heads}")
        if self.mesh.data == 0:
            raise ValueError("mesh.data: 0 devices; use a count, or -1 for all remaining devices")
        if len(tokenizer.models) > 2:
            raise ValueError("tokenizer.models: more than two; give one for both sides, or source and target")
        if not (tokenizer.models or tokenizer.shared) and model.tie_embeddings == "all":
            raise ValueError('model.tie_embeddings: "all" needs one tokenizer for both sides; use "decoder" or "none"')
        if tokenizer.byte_fallback and not tokenizer.models and tokenizer.vocab_size <= 260:
            raise ValueError(
                f"tokenizer.vocab_size: {tokenizer.vocab_size} leaves no piece besides the 256 bytes and 4 symbols;"
                " raise it or set tokenizer.byte_fallback = false"
            )
        if train.batch_tokens < data.max_length:
            raise ValueError(
                f"train.batch_tokens: {train.batch_tokens} cannot hold a sentence of data.max_length ="
                f" {data.max_length}"
            )
        return self
