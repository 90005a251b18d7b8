"""Ids that are not SentencePiece's own: of models that came from elsewhere."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from transformer.config import NonNegative, Section
from transformer.data.lines import one_line
from transformer.errors import UsageError


class Vocabulary(Section):
    """What the ids of a model mean."""

    pieces: Annotated[tuple[str, ...], Field(min_length=1, max_length=1 << 20)]
    """by id"""
    pad: NonNegative
    start: NonNegative
    end: NonNegative
    unknown: NonNegative
    never: tuple[NonNegative, ...]
    """ids that a translation cannot have"""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(set(self.pieces)) < len(self.pieces):
            raise ValueError("a piece stands there twice")
        for name in ("pad", "start", "end", "unknown", "never"):
            value = getattr(self, name)
            largest = max(value, default=0) if isinstance(value, tuple) else value
            if largest >= len(self.pieces):
                raise ValueError(f"{name}: the id {largest} is beyond the {len(self.pieces)} pieces")
        if self.end in self.never:
            raise ValueError("a translation could never end")
        return self


def read_vocabulary(path: Path) -> Vocabulary | None:
    """The vocabulary in a file, if there is one. Raises UsageError where it is something else."""
    try:
        return Vocabulary.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror}") from None
    except ValidationError as problem:
        raise UsageError(f"{path}: not a vocabulary: {one_line(problem.errors()[0]['msg'])}") from None
