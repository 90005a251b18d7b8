"""[mesh]: the devices."""

from typing import Annotated

from pydantic import Field

from transformer.config.section import HARMLESS, Count, Section


class Mesh(Section):
    """The devices as a grid with the axes data, fsdp and tensor; training/sharding.py states what each axis splits."""

    data: Annotated[int, Field(ge=-1), HARMLESS] = -1
    """devices over which a batch is split; -1: all remaining devices"""
    fsdp: Annotated[Count, HARMLESS] = 1
    """devices over which a batch, the parameters and the state of the optimizer are split"""
    tensor: Annotated[Count, HARMLESS] = 1
    """devices over which heads, hidden units and the vocabulary are split"""
