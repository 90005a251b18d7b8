"""The base class of the sections of a config, and the types that settings share."""

import os
from enum import Enum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Frozen settings. Each has a default, bounds, a description (the docstring below it) and an effect on a run."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Effect(Enum):
    """The effect of a changed setting on a run in progress. Every setting of a config has one, in its annotation."""

    HARMLESS = "does not change the training; only another mesh may change rounding and the rows of a batch"
    CHANGES_RESULT = "the run can be resumed with --allow-config-change, but ends with another model"
    BY_CONTENT = "names files: their content is compared, not their names"
    FIXED = "the weights, the state of the optimizer or the ids in RUN/data would not fit"


HARMLESS, CHANGES_RESULT, BY_CONTENT, FIXED = Effect.HARMLESS, Effect.CHANGES_RESULT, Effect.BY_CONTENT, Effect.FIXED

Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(ge=1, le=1 << 20)]  # bounded: an untrusted model must not request unbounded memory
Depth = Annotated[int, Field(ge=1, le=1 << 10)]
Rate = Annotated[float, Field(ge=0, lt=1)]
FreeText = Annotated[str, Field(max_length=10_000)]  # bounded for the same reason as Size


def expand_home(path: str) -> str:
    """Replaces a leading `~` by the home directory, as a shell does. Raises ValueError if there is no such home."""
    full = os.path.expanduser(path)
    if full.startswith("~"):
        home = path.split("/")[0]
        raise ValueError(f"{path!r}: there is no home directory {home}; write it in full, or ./{home} for that name")
    return full


UserPath = Annotated[str, AfterValidator(expand_home)]
