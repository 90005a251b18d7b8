"""Reads the pickles in a file of `torch.save` without executing any code in them.

This is the only file of this package that imports `pickle`. A pickle is a program for a stack machine (`pickletools`
describes its instructions). Before Python's Unpickler runs a pickle, `_scan` refuses every instruction that torch.save
does not write, and everything that could take unbounded memory or time: a memo entry with a large number, and tuples
that contain many others. The Unpickler can then look up only the names in NAMES, and calls only what is defined here.
"""

import io
import math
import pickle
import pickletools
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

MAX_INSTRUCTIONS = 1_000_000  # of one pickle; torch.save writes about thirty for each tensor
MAX_TUPLE = 10_000  # items of a tuple and of the tuples in it, because all of them are hashed
MAX_DIMENSIONS = 8
MAX_ELEMENTS = 1 << 40  # of a shape, with 0 counted as 1; so strides and sizes in bytes are below 2^63
INSTRUCTIONS = {
    "PROTO", "FRAME", "STOP", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "SHORT_BINUNICODE", "BINUNICODE", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS",
    "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "MARK", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET",
    "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID",
}  # fmt: skip
DAMAGE = (pickle.UnpicklingError, AttributeError, EOFError, LookupError, OverflowError, TypeError)  # by the Unpickler
FLOATS = {"Double": "<f8", "Float": "<f4", "Half": "<f2", "BFloat16": ml_dtypes.bfloat16}
INTEGERS = {"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1", "Bool": "?"}


@dataclass(frozen=True)
class Storage:
    """A block of numbers that is stored elsewhere in the file, under a key."""

    key: str  # digits
    dtype: np.dtype
    count: int

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, content: bytes) -> np.ndarray:
        """Returns the tensor as a read-only view of the bytes of its storage."""
        width = self.storage.dtype.itemsize
        if not math.prod(self.shape):
            return np.empty(self.shape, self.storage.dtype)
        strides = [stride * width for stride in self.strides]
        return np.ndarray(self.shape, self.storage.dtype, content, self.offset * width, strides)


class Reader:
    """Reads one pickle after another. Raises ValueError for a pickle that torch.save does not write."""

    def __init__(self, content: io.BytesIO) -> None:
        self._content = content  # in memory, so that a wrong length cannot allocate more than its size
        self.storages: dict[str, Storage] = {}  # of all pickles so far, by key

    def read(self) -> object:
        """Returns the value of the next pickle: constants, lists, tuples, dictionaries and Tensors."""
        start = self._content.tell()
        # pickletools warns about the arguments of instructions that are refused anyway
        with warnings.catch_warnings(action="ignore"):
            _scan(self._content)
        end = self._content.tell()
        self._content.seek(start)
        program = io.BytesIO(self._content.read(end - start))
        try:
            return _Unpickler(program, self.storages).load()
        except DAMAGE as problem:
            raise ValueError(f"damaged: {type(problem).__name__}: {problem}") from None


def _scan(content: io.BytesIO) -> None:
    """Raises ValueError if the next pickle has an instruction not in INSTRUCTIONS, or too large a tuple or memo."""
    stack: list[int] = []  # for each object, the number of items in it and in its tuples; -1: a mark
    memo: dict[int, int] = {}
    for count, (code, argument, _) in enumerate(pickletools.genops(content)):
        if code.name not in INSTRUCTIONS:
            raise ValueError(f"has the pickle instruction {code.name}, which torch.save does not write")
        if count == MAX_INSTRUCTIONS:
            raise ValueError(f"has a pickle of more than {MAX_INSTRUCTIONS} instructions")
        if code.name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            index = len(memo) if argument is None else argument
            if index > MAX_INSTRUCTIONS:
                raise ValueError(f"has the memo entry {index}, more than {MAX_INSTRUCTIONS}")
            memo[index] = stack[-1] if stack else 0
            continue
        taken = [stack.pop() for before in code.stack_before if before.name not in ("mark", "stackslice") and stack]
        if pickletools.markobject in code.stack_before:
            while stack and (item := stack.pop()) >= 0:
                taken.append(item)
        if code.name == "MARK":
            stack.append(-1)
        elif code.stack_after:
            size = memo.get(int(argument or 0), 0) if code.name.endswith("BINGET") else 1
            stack.append(size + sum(taken) if "TUPLE" in code.name else size)
        if stack and stack[-1] > MAX_TUPLE:
            raise ValueError(f"has a tuple of more than {MAX_TUPLE} items")


class _Unpickler(pickle.Unpickler):
    """An Unpickler that can look up only the names in NAMES."""

    def __init__(self, program: io.BytesIO, storages: dict[str, Storage]) -> None:
        super().__init__(program)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NAMES:
            raise ValueError(
                f"asks for {f'{module}.{name}'[:100]!r}, which does not describe a tensor; no code was run"
            )
        return NAMES[module, name]

    def persistent_load(self, identity: object) -> Storage:
        match identity:
            # `views`: in the legacy format, a part of another storage; torch has not written these since 0.4
            case "storage", np.dtype() as dtype, str(key), str(), int(count), *views if not any(views):
                storage = Storage(key, dtype, count)
            case _:
                raise ValueError("has a storage of a kind that the models of Transformers do not have")
        if not re.fullmatch(r"[0-9]{1,20}", key) or not 0 <= count <= MAX_ELEMENTS:
            raise ValueError(f"has a storage with an impossible key or size (key {key[:100]!r})")
        if self._storages.setdefault(key, storage) != storage:
            raise ValueError(f"has two storages with the key {key}")
        return storage


def _parameter(tensor: Tensor, *_: object) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise ValueError("calls a function of torch in a way that the models of Transformers do not")
    return tensor


def _tensor(*arguments: object) -> Tensor:
    """Returns the tensor. Raises ValueError if its shape or strides are impossible, or if it exceeds its storage."""
    match arguments:
        # `more` may state that the numbers are to be negated or conjugated
        case Storage() as storage, int(offset), tuple(shape), tuple(strides), _, _, *more if not any(more):
            pass
        case _:
            raise ValueError("calls a function of torch in a way that the models of Transformers do not")
    sizes = [size for size in shape if type(size) is int and 0 <= size <= MAX_ELEMENTS]
    steps = [step for step in strides if type(step) is int and 0 <= step <= MAX_ELEMENTS]
    is_absurd = math.prod(max(size, 1) for size in sizes) > MAX_ELEMENTS
    if is_absurd or not len(sizes) == len(steps) == len(shape) == len(strides) <= MAX_DIMENSIONS or offset < 0:
        raise ValueError("has a tensor with an impossible shape or strides")
    count = math.prod(sizes)
    last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    if count > storage.count or (count and last >= storage.count):
        raise ValueError(f"has a tensor that is larger than its storage {storage.key}")
    return Tensor(storage, offset, tuple(sizes), tuple(steps))


NAMES: dict[tuple[str, str], Callable[..., Any] | np.dtype] = {
    ("collections", "OrderedDict"): lambda: OrderedDict(),  # called without arguments
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    **{("torch", f"{kind}Storage"): np.dtype(dtype) for kind, dtype in (FLOATS | INTEGERS).items()},
}
