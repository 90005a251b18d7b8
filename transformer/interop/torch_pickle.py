"""The pickles in a file of `torch.save`, read without running anything.

A pickle is a program for a stack machine (the `pickletools` of Python describe its instructions). The machine here
knows the few instructions that torch.save writes, and none of them can import or call: a name is one of KNOWN, and what
is called is read as the description of a tensor. Python's own Unpickler would not do, however few names it were given:
a LONG_BINPUT of nine bytes makes it take gigabytes, and nested tuples as a key stop it for good, or crash it.
"""

import io
import math
import re
from dataclasses import dataclass
from enum import Enum, auto
from struct import Struct

import ml_dtypes
import numpy as np

MOST_INSTRUCTIONS = 1_000_000  # of one pickle; torch.save writes some thirty for each tensor
MOST_DIMENSIONS = 8
MOST_ELEMENTS = 1 << 40  # by shape, each 0 counted as 1: so strides and sizes in bytes stay below 2^63


class _Call(Enum):
    """What may be called."""

    DICTIONARY = auto()
    TENSOR = auto()
    PARAMETER = auto()


FLOATS = {"Double": "<f8", "Float": "<f4", "Half": "<f2", "BFloat16": ml_dtypes.bfloat16}
INTEGERS = {"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1", "Bool": "?"}
KNOWN = {
    ("collections", "OrderedDict"): _Call.DICTIONARY,
    ("torch._utils", "_rebuild_tensor_v2"): _Call.TENSOR,
    ("torch._utils", "_rebuild_parameter"): _Call.PARAMETER,
    ("torch._utils", "_rebuild_parameter_with_state"): _Call.PARAMETER,
    **{("torch", f"{kind}Storage"): np.dtype(dtype) for kind, dtype in (FLOATS | INTEGERS).items()},
}

# The byte of an instruction: what it does, and its argument or how that is written.
INSTRUCTIONS: dict[bytes, tuple[str, object]] = {
    b"\x80": ("skip", Struct("<B")), b"\x95": ("skip", Struct("<Q")),  # the protocol, the length of a frame
    b"N": ("push", None), b"\x88": ("push", True), b"\x89": ("push", False),
    b"K": ("push", Struct("<B")), b"M": ("push", Struct("<H")), b"J": ("push", Struct("<i")),
    b"\x8a": ("integer", Struct("<B")), b"\x8c": ("text", Struct("<B")), b"X": ("text", Struct("<I")),
    b"}": ("dictionary", None), b"s": ("set", None), b"u": ("set from mark", None),
    b"]": ("list", None), b"a": ("append", None), b"e": ("append from mark", None),
    b")": ("tuple", 0), b"\x85": ("tuple", 1), b"\x86": ("tuple", 2), b"\x87": ("tuple", 3),
    b"(": ("mark", None), b"t": ("tuple from mark", None),
    b"q": ("put", Struct("<B")), b"r": ("put", Struct("<I")), b"\x94": ("put next", None),
    b"h": ("get", Struct("<B")), b"j": ("get", Struct("<I")),
    b"c": ("name", None), b"\x93": ("name on stack", None),
    b"R": ("call", None), b"b": ("attributes", None), b"Q": ("storage", None), b".": ("stop", None),
}  # fmt: skip


@dataclass(frozen=True)
class Storage:
    """Numbers that lie elsewhere in the file, under a key."""

    key: str  # digits
    dtype: np.dtype
    count: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class Tensor:
    """A view of a storage, which it does not leave; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, content: bytes) -> np.ndarray:
        """Of all the storage's bytes. Read-only, and it shares their memory."""
        width = self.storage.dtype.itemsize
        if not math.prod(self.shape):
            return np.empty(self.shape, self.storage.dtype)
        strides = [stride * width for stride in self.strides]
        return np.ndarray(self.shape, self.storage.dtype, content, self.offset * width, strides)


class Machine:
    """Reads one pickle after another. Raises ValueError or LookupError for all that torch.save does not write."""

    def __init__(self, content: io.BytesIO) -> None:
        self._content = content  # in memory: a length in it may be any, and reading allocates no more than there is
        self.storages: dict[str, Storage] = {}
        """by key, those of all pickles so far"""

    def run(self) -> object:
        """What the next pickle describes: constants, lists, tuples, dictionaries and Tensors."""
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[object, object] = {}
        for _ in range(MOST_INSTRUCTIONS):
            code = self._take(1)
            if code not in INSTRUCTIONS:
                raise ValueError(f"has the pickle instruction {code!r}, which torch.save does not write")
            action, argument = INSTRUCTIONS[code]
            if isinstance(argument, Struct):
                (argument,) = argument.unpack(self._take(argument.size))
            if action == "stop":
                return self._stack[-1]
            self._do(action, argument)
        raise ValueError(f"has a pickle of more than {MOST_INSTRUCTIONS} instructions")

    def _do(self, action: str, argument: object) -> None:
        match action:
            case "skip":
                pass
            case "mark":
                self._marks.append(len(self._stack))
            case "put":
                self._memo[argument] = self._stack[-1]
            case "put next":
                self._memo[len(self._memo)] = self._stack[-1]
            case "append":
                self._extend(self._pop(1))
            case "append from mark":
                self._extend(self._pop_marked())
            case "set":
                self._update(self._pop(2))
            case "set from mark":
                self._update(self._pop_marked())
            case "attributes":  # of a dictionary: the versions of modules, which no tensor needs
                self._pop(1)
            case _:
                self._stack.append(self._value(action, argument))

    def _value(self, action: str, argument: object) -> object:
        match action, argument:
            case "push", _:
                return argument
            case "integer", int(size):
                return int.from_bytes(self._take(size), "little", signed=True)
            case "text", int(size):
                return self._take(size).decode()
            case "dictionary", _:
                return {}
            case "list", _:
                return []
            case "tuple", int(count):
                return tuple(self._pop(count))
            case "tuple from mark", _:
                return tuple(self._pop_marked())
            case "get", _:
                return self._memo[argument]
            case "name", _:
                return _known(self._line(), self._line())
            case "name on stack", _:
                return _known(*self._pop(2))
            case "call", _:
                return _called(*self._pop(2))
            case "storage", _:
                return self._storage(*self._pop(1))
        raise AssertionError(action)

    def _take(self, size: int) -> bytes:
        taken = self._content.read(size)
        if len(taken) != size:
            raise ValueError("ends within a pickle, or has one that is too large")
        return taken

    def _line(self) -> str:
        return self._content.readline().decode().removesuffix("\n")

    def _pop(self, count: int) -> list[object]:
        return [self._stack.pop() for _ in range(count)][::-1]

    def _pop_marked(self) -> list[object]:
        mark = self._marks.pop()
        popped = self._stack[mark:]
        del self._stack[mark:]
        return popped

    def _extend(self, items: list[object]) -> None:
        match self._stack[-1]:
            case list(into):
                into.extend(items)
            case _:
                raise ValueError("damaged: its pickle appends to what is no list")

    def _update(self, items: list[object]) -> None:
        keys, values = items[::2], items[1::2]
        into = self._stack[-1]
        if not isinstance(into, dict) or len(keys) != len(values):
            raise ValueError("damaged: its pickle sets items of what is no dictionary")
        for key, value in zip(keys, values, strict=True):
            if not isinstance(key, str):  # no others: hashing nested tuples may take forever
                raise ValueError(f"has a dictionary with a {type(key).__name__} as a key; torch.save writes names")
            into[key] = value

    def _storage(self, identity: object) -> Storage:
        match identity:
            # `views` are of the legacy format: a storage within another, which torch has not written since 0.4
            case "storage", np.dtype() as dtype, str(key), str(), int(count), *views if not any(views):
                storage = Storage(key, dtype, count)
            case _:
                raise ValueError("has a storage of a kind that the models of Transformers do not have")
        if not re.fullmatch(r"[0-9]{1,20}", key) or not 0 <= count <= MOST_ELEMENTS:
            raise ValueError(f"has a storage with the impossible key {key[:100]!r} or size")
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"has two storages of one key, {key}")
        return storage


def _known(module: object, name: object) -> object:
    if not isinstance(module, str) or not isinstance(name, str) or (module, name) not in KNOWN:
        asked = ".".join(part if isinstance(part, str) else type(part).__name__ for part in (module, name))
        raise ValueError(f"asks for {asked[:100]!r}, which is no part of a tensor; nothing was run")
    return KNOWN[module, name]


def _called(function: object, arguments: object) -> object:
    match function, arguments:
        case _Call.DICTIONARY, ():
            return {}
        case _Call.PARAMETER, (Tensor() as tensor, *_):
            return tensor
        case _Call.TENSOR, (Storage() as storage, int(offset), tuple(shape), tuple(strides), _, _, *more):
            # `more` may say that the numbers are to be negated or conjugated
            if not any(more):
                return _tensor(storage, offset, shape, strides)
    raise ValueError("calls a function of torch in a way that the models of Transformers do not")


def _tensor(storage: Storage, offset: int, shape: tuple[object, ...], strides: tuple[object, ...]) -> Tensor:
    """Raises ValueError if it leaves its storage, or has more elements than that."""
    sizes = [size for size in shape if type(size) is int and 0 <= size <= MOST_ELEMENTS]
    steps = [step for step in strides if type(step) is int and 0 <= step <= MOST_ELEMENTS]
    absurd = math.prod(max(size, 1) for size in sizes) > MOST_ELEMENTS
    if absurd or not len(sizes) == len(steps) == len(shape) == len(strides) <= MOST_DIMENSIONS or offset < 0:
        raise ValueError("has a tensor of impossible shape or strides")
    count = math.prod(sizes)
    last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    if count > storage.count or (count and last >= storage.count):
        raise ValueError(f"has a tensor that is larger than its storage {storage.key}")
    return Tensor(storage, offset, tuple(sizes), tuple(steps))
