"""Files as torch.save writes them, with stand-ins for the objects of torch, and how such a file is refused."""

import io
import pickle
import struct
import sys
import time
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import ml_dtypes
import numpy as np
import pytest

from memory import at_most
from transformer.errors import UsageError
from transformer.interop.torch_file.tensors import read_state_dict

KINDS = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
}
FORMATS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


# What torch.save does, with stand-ins for the objects of torch


class Torch(ModuleType):
    """A module of torch, as far as pickle asks for it."""

    def define(self, name: str) -> Any:
        made = type(name, (), {"__module__": self.__name__, "__qualname__": name})
        setattr(self, name, made)
        return made


TORCH, UTILS = Torch("torch"), Torch("torch._utils")
STORAGES = {kind: TORCH.define(f"{kind}Storage") for kind in KINDS}
REBUILD = {name: UTILS.define(f"_rebuild_{name}") for name in ("tensor_v2", "parameter", "tensor_v3")}


@dataclass(eq=False)
class Storage:
    kind: str
    values: np.ndarray
    key: str = "0"
    claimed: Any = None  # another number of elements

    @property
    def identity(self) -> tuple[Any, ...]:
        count = self.values.size if self.claimed is None else self.claimed
        return ("storage", STORAGES[self.kind], self.key, "cuda:0", count)


@dataclass(eq=False)
class Tensor:
    storage: Storage
    offset: Any
    shape: Any
    strides: Any
    more: tuple[Any, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        view = (self.storage, self.offset, self.shape, self.strides, False, OrderedDict())
        return REBUILD["tensor_v2"], view + self.more


@dataclass(eq=False)
class Parameter:
    data: Tensor

    def __reduce__(self) -> tuple[Any, ...]:
        return REBUILD["parameter"], (self.data, True, OrderedDict())


def tensor(values: np.ndarray, key: str, kind: str = "Float") -> Tensor:
    values = np.asarray(values, KINDS[kind], order="C")
    strides = tuple(stride // values.itemsize for stride in values.strides)
    return Tensor(Storage(kind, values.reshape(-1), key), 0, values.shape, strides)


def pickled(value: object, *, legacy: bool = False, protocol: int = 2) -> bytes:
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: object) -> object:
            return (*obj.identity, *((None,) if legacy else ())) if isinstance(obj, Storage) else None

    into = io.BytesIO()
    with patch.dict(sys.modules, {"torch": TORCH, "torch._utils": UTILS}):
        Pickler(into, protocol).dump(value)
    return into.getvalue()


def write(path: Path, program: bytes, storages: Mapping[str, np.ndarray], *, legacy: bool = False) -> Path:
    """The file of a pickle and of its storages."""
    if not legacy:
        members = {f"data/{key}": values.tobytes() for key, values in storages.items()}
        return write_zip(path, {"data.pkl": program, "byteorder": b"little", "version": b"3\n"} | members)
    start = b"".join(pickle.dumps(value, 2) for value in (MAGIC, VERSION, SYSTEM))
    data = b"".join(struct.pack("<q", values.size) + values.tobytes() for _, values in sorted(storages.items()))
    path.write_bytes(start + program + pickle.dumps(sorted(storages), 2) + data)
    return path


def write_zip(path: Path, members: Mapping[str, bytes], *, root: str = "model/", compressed: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(root + name, content)
    return path


def save(path: Path, state: Mapping[str, Tensor | Parameter], *, legacy: bool = False, protocol: int = 2) -> Path:
    tensors = [value.data if isinstance(value, Parameter) else value for value in state.values()]
    storages = {each.storage.key: each.storage.values for each in tensors}
    return write(path, pickled(state, legacy=legacy, protocol=protocol), storages, legacy=legacy)


# Pickles written by hand, and how a file is refused


def text(value: str) -> bytes:
    """The pickle instruction that puts a text on the stack."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def hosts(path: Path, program: bytes) -> Iterator[Path]:
    """Files with the pickle in each of the places where a file has one."""
    yield write(path, program, {})
    yield write(path, program, {}, legacy=True)
    start = [pickle.dumps(value, 2) for value in (MAGIC, VERSION, SYSTEM, {})]
    for at in range(5):
        path.write_bytes(b"".join(start[:at]) + (b"" if program[:1] == b"\x80" else b"\x80\x02") + program)
        yield path


def refused(path: Path) -> str:
    """The one line with which a file is refused, soon and in little memory."""
    began = time.process_time()
    with at_most(300), pytest.raises(UsageError) as problem:
        read_state_dict(path)
    assert time.process_time() - began < 10
    text = str(problem.value)
    assert text.isprintable() and text.startswith(f"{path}: ")
    assert text.endswith(("with Transformers and import that", ": no such file", ": not a file"))
    return text
