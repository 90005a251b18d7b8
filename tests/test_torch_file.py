"""Files of torch.save: what is in them comes out without torch, and nothing in them can run, crash or stall us."""

import copyreg
import io
import os
import pickle
import re
import struct
import sys
import time
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pytorch_model.bin"


# What is in a file comes out


@FORMATS
@pytest.mark.parametrize("kind", KINDS)
def test_each_dtype_and_shape_comes_back(path: Path, kind: str, legacy: bool) -> None:
    shapes = [(), (1,), (7,), (2, 3), (5, 1, 3, 2), (0,), (0, 5)]
    rng = np.random.default_rng(1)
    arrays = {f"layer.{at}": rng.integers(0, 2, shape).astype(KINDS[kind]) for at, shape in enumerate(shapes)}
    save(path, {name: tensor(array, str(at), kind) for at, (name, array) in enumerate(arrays.items())}, legacy=legacy)
    found = read_state_dict(path)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == KINDS[kind] and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@FORMATS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_each_protocol_with_a_dictionary_of_any_kind(path: Path, protocol: int, legacy: bool) -> None:
    """An OrderedDict has attributes of modules beside it: they are left out."""
    plain = {str(at): tensor(np.arange(at + 1) / 7, str(at)) for at in range(300)}  # so many: LONG_BINPUT, LONG_BINGET
    ordered = OrderedDict(plain)
    vars(ordered)["_metadata"] = OrderedDict({"": {"version": 1}, "encoder": {"version": 1 << 70}})
    for state in (plain, ordered, {name: Parameter(value) for name, value in plain.items()}):
        found = read_state_dict(save(path, state, legacy=legacy, protocol=protocol))
        assert list(found) == list(plain)
        for at, array in enumerate(found.values()):
            np.testing.assert_array_equal(array, (np.arange(at + 1) / 7).astype(np.float32))


@FORMATS
def test_views_of_one_storage_share_its_memory(path: Path, legacy: bool) -> None:
    values = np.arange(60, dtype=np.float32)
    shared = Storage("Float", values)
    state = {
        "whole": Tensor(shared, 0, (60,), (1,)),
        "tied": Tensor(shared, 0, (60,), (1,)),
        "transposed": Tensor(shared, 0, (5, 12), (1, 5)),
        "column": Tensor(shared, 3, (12,), (5,)),
        "block": Tensor(shared, 31, (2, 3), (10, 2)),
        "expanded": Tensor(shared, 59, (7, 1, 4), (0, 1 << 39, 0)),
        "last": Tensor(shared, 59, (), ()),
    }
    found = read_state_dict(save(path, state, legacy=legacy))
    for name, view in state.items():
        places = view.offset + sum(
            index * stride for index, stride in zip(np.indices(view.shape), view.strides, strict=True)
        )
        np.testing.assert_array_equal(found[name], values[places])
        assert np.shares_memory(found[name], found["whole"]) and not found[name].flags.writeable


def test_a_zip_file_may_be_of_any_name_and_say_nothing_of_its_bytes(path: Path) -> None:
    program, values = pickled({"a": tensor(np.arange(3), "0")}), np.arange(3, dtype="<f4").tobytes()
    for root in ("archive/", "pytorch_model.v2/", "日本/"):
        write_zip(path, {"data.pkl": program, "data/0": values}, root=root)
        assert read_state_dict(path)["a"].tolist() == [0, 1, 2]


def test_a_link_to_a_file_is_followed(path: Path) -> None:
    save(path, {"a": tensor(np.ones(3), "0")})
    (path.parent / "link").symlink_to(path)
    assert read_state_dict(path.parent / "link").keys() == {"a"}


# Nothing runs


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def attacks(canary: Path) -> dict[str, bytes]:
    """Pickles that make a file, each in another way, behind what they are to be refused for."""
    command = f"touch {canary}"
    arguments = text(command) + b"\x85"
    call = f"__import__('os').system({command!r})"

    def evaluated(code: str) -> bytes:
        return b"cbuiltins\neval\n" + text(code) + b"\x85R"

    made = evaluated(f"type('A', (), {{'__new__': lambda *_, **__: {call}}})")
    mended = evaluated(f"type('A', (), {{'__setstate__': lambda *_: {call}}})()")
    return {
        "asks for 'os.system'": b"\x80\x02cos\nsystem\n" + arguments + b"R.",
        "asks for 'posix.system'": b"\x80\x02cposix\nsystem\n" + arguments + b"R.",
        "asks for 'posix.system', ": b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + arguments + b"R.",
        "asks for 'shutil.os.system'": b"\x80\x04" + text("shutil") + text("os.system") + b"\x93" + arguments + b"R.",
        "asks for 'os.system', ": b"(cos\nsystem\n" + text(command) + b"o.",
        "asks for 'builtins.eval'": b"\x80\x02" + evaluated(call) + b".",
        "asks for 'builtins.eval', ": b"\x80\x02" + made + b")\x81.",
        "asks for 'builtins.eval', which": b"\x80\x04" + made + b")}\x92.",
        "asks for 'builtins.eval', which ": b"\x80\x02" + mended + b"Nb.",
        "the pickle instruction b'i'": b"(" + text(command) + b"ios\nsystem\n.",
        r"the pickle instruction b'\x82'": b"\x80\x02\x82\xf0" + arguments + b"R.",
        r"the pickle instruction b'\x83'": b"\x80\x02\x83\xf0\0" + arguments + b"R.",
        r"the pickle instruction b'\x84'": b"\x80\x02\x84\xf0\0\0\0" + arguments + b"R.",
    }


@pytest.fixture
def extension() -> Iterator[None]:
    """Of copyreg's registry, by which EXT1, EXT2 and EXT4 name things."""
    copyreg.add_extension("os", "system", 0xF0)
    yield
    copyreg.remove_extension("os", "system", 0xF0)


def hosts(path: Path, program: bytes) -> Iterator[Path]:
    """Files with the pickle in each of the places where a file has one."""
    yield write(path, program, {})
    yield write(path, program, {}, legacy=True)
    start = [pickle.dumps(value, 2) for value in (MAGIC, VERSION, SYSTEM, {})]
    for at in range(5):
        path.write_bytes(b"".join(start[:at]) + (b"" if program[:1] == b"\x80" else b"\x80\x02") + program)
        yield path


@pytest.mark.usefixtures("extension")
def test_what_python_would_run_is_refused_by_name(path: Path) -> None:
    canary = path.parent / "canary"
    for fault, program in attacks(canary).items():
        pickle.loads(program)
        assert canary.exists(), f"no attack: {program!r}"
        canary.unlink()
        for host in hosts(path, program):
            assert re.search(f"{re.escape(fault.rstrip())}|has the pickle instruction", refused(host))
        state = b"\x80\x02}" + text("a") + program.removeprefix(b"\x80\x02").removeprefix(b"\x80\x04")[:-1] + b"s."
        assert re.search(f"{re.escape(fault.rstrip())}|has the pickle instruction", refused(write(path, state, {})))
        assert not canary.exists()


@pytest.mark.parametrize(
    "name",
    [
        *["torch.storage _load_from_bytes", "torch.hub load", "torch load", "torch.jit load", "numpy dtype", " ", "a "],
        *[
            "torch Storage",
            "torch FloatTensor",
            "torch._utils _rebuild_tensor",
            "__torch__.m Model",
            "torch FloatStorages",
        ],
    ],
)
def test_no_name_but_those_of_tensors_is_known(path: Path, name: str) -> None:
    asked = "\n".join(name.split(" ")).encode()
    for host in hosts(path, b"\x80\x02c" + asked + b"\n)R."):
        assert f"asks for {name.replace(' ', '.')!r}" in (told := refused(host)) or "damaged: UnpicklingError" in told


def test_what_is_known_takes_no_other_arguments(path: Path) -> None:
    rebuild, ordered, storage = (
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
        b"ctorch\nIntStorage\n",
    )
    whole = b"(" + text("storage") + storage + text("0") + text("cpu") + b"K\x01tQ"
    programs = [
        *(
            name + arguments + b"R"
            for name in (rebuild, storage)
            for arguments in (b")", b"N", b"}", b"]", b"(NNNNNNt")
        ),
        *(ordered + arguments + b"R" for arguments in (b"]\x85", b"N\x85", b"N", b"}\x85")),
        *(rebuild + b"(" + whole + b"K\0" + shape + b")\x89}tR" for shape in (b"]", b"N", b"K\x01", b"}", b"N\x85")),
        rebuild + b"(" + whole + b"N))\x89}tR",
        rebuild + b"(" + whole + b"K\0))\x89}}" + text("neg") + b"\x88stR",  # numbers to be negated
        text("collections.OrderedDict") + b")R",
        whole + b")R",
        storage + b")\x81",
        b"ctorch._utils\n_rebuild_parameter\n" + whole + b"\x85R",
    ]
    for program in programs:
        refused(write(path, b"\x80\x02}" + text("a") + program + b"s.", {"0": np.ones(1, np.int32)}))


@pytest.mark.parametrize(
    "identity",
    [b")", b"N", b"]", b"K\x01", text("storage"), b"(" + text("module") + b"NNNt"]
    + [
        b"(" + text("storage") + kind + key + text("cpu") + count + b"t"
        for kind, key, count in [
            (text("FloatStorage"), text("0"), b"K\x01"),
            (b"ccollections\nOrderedDict\n", text("0"), b"K\x01"),
            (b"ctorch\nFloatStorage\n", b"K\0", b"K\x01"),
            (b"ctorch\nFloatStorage\n", text("../../x"), b"K\x01"),
            (b"ctorch\nFloatStorage\n", text("²"), b"K\x01"),
            (b"ctorch\nFloatStorage\n", text("0"), b"J\xff\xff\xff\xff"),
            (b"ctorch\nFloatStorage\n", text("0"), b"\x8a\x08\0\0\0\0\0\0\0\x7f"),
            (b"ctorch\nFloatStorage\n", text("0"), b"N"),
            (b"ctorch\nFloatStorage\n", text("0"), b"K\x01" + text("view")),
        ]
    ],
)
def test_storages_of_another_kind_are_refused(path: Path, identity: bytes) -> None:
    for host in hosts(path, b"\x80\x02" + identity + b"Q."):
        assert "has a storage" in refused(host)


# Nothing leaves its storage


@FORMATS
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        *[(0, (13,), (1,)), (1, (12,), (1,)), (12, (1,), (1,)), (12, (), ()), (0, (2, 2), (11, 1)), (0, (12,), (2,))],
        *[(-1, (2,), (1,)), (0, (2,), (-1,)), (11, (2,), (-1,)), (0, (-2,), (1,)), (0, (-2, -2), (1, 1))],
        *[(0, (1 << 62,), (0,)), (0, (1 << 40,), (0,)), (0, (13,), (0,)), (0, (2,), (1 << 63,)), (1 << 64, (1,), (1,))],
        *[(0, (1 << 32, 1 << 32), (1, 1)), (0, (0, 1 << 62), (1, 1)), (0, (0, 1 << 40, 1 << 40), (1, 1, 1))],
        *[(0, (3,), ()), (0, (), (1,)), (0, (3,), (1, 1)), (0, (1,) * 9, (1,) * 9), (0, (1 << 2000,), (1 << 2000,))],
        *[(0, (2.0,), (1,)), (0, ("2",), (1,)), (0, (None,), (1,)), (0.0, (2,), (1,)), (0, [2], [1]), (0, 2, 1)],
    ],
)
def test_views_of_more_than_the_storage_are_refused(
    path: Path, offset: Any, shape: Any, strides: Any, legacy: bool
) -> None:
    save(path, {"a": Tensor(Storage("Float", np.ones(12, "f4")), offset, shape, strides)}, legacy=legacy)
    assert re.search(
        "has a tensor|calls a function of torch|instruction BINFLOAT", refused(path)
    )  # before NumPy is asked for it


@FORMATS
@pytest.mark.parametrize("claimed", [0, 11, 13, -1, 1 << 31, 1 << 50, 1 << 62, 1 << 64])
def test_storages_are_of_the_size_that_is_claimed(path: Path, claimed: int, legacy: bool) -> None:
    storage = Storage("Float", np.ones(12, "f4"), claimed=claimed)
    for shape in ((12,), (1,), (0,)):
        refused(save(path, {"a": Tensor(storage, 0, shape, (1,))}, legacy=legacy))


@FORMATS
def test_a_storage_has_one_dtype_and_is_there(path: Path, legacy: bool) -> None:
    first, second = tensor(np.ones(2), "0"), tensor(np.ones(1), "0", "Double")
    assert "two storages with the key" in refused(save(path, {"a": first, "b": second}, legacy=legacy))
    for storages in ({}, {"1": np.ones(2, "f4")}, {"0": np.ones(2)}, {"0": np.ones(2, "f4"), "x": np.ones(2)}):
        if legacy or "x" not in storages:  # a zip file may have more members
            refused(write(path, pickled({"a": first}, legacy=legacy), storages, legacy=legacy))


def test_the_storage_list_of_a_legacy_file_is_a_list_of_its_storages(path: Path) -> None:
    save(path, {"a": tensor(np.ones(2), "0")}, legacy=True)
    content, keys = path.read_bytes(), pickle.dumps(["0"], 2)
    assert content.count(keys) == 1
    for other in (["1"], [], ["0", "0"], [0], "0", None, {"0": 1}, [["0"]], ["0", ()]):
        path.write_bytes(content.replace(keys, pickle.dumps(other, 2)))
        refused(path)
    path.write_bytes(content[:-16] + struct.pack("<q", 3) + content[-8:])  # says three numbers, and has two
    refused(path)


@FORMATS
@pytest.mark.parametrize("state", [None, 3, [], (), "a", {"a": 3}, {"model": {"a": {}}}, {1: 2}, {(): 2}, {None: None}])
def test_what_is_no_dictionary_of_tensors_is_refused(path: Path, state: object, legacy: bool) -> None:
    refused(write(path, pickled(state, legacy=legacy), {}, legacy=legacy))


def test_too_many_tensors_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path, {str(at): tensor(np.ones(1), str(at)) for at in range(3)})
    monkeypatch.setattr("transformer.interop.torch_file.tensors.MAX_TENSORS", 3)
    assert len(read_state_dict(path)) == 3
    monkeypatch.setattr("transformer.interop.torch_file.tensors.MAX_TENSORS", 2)
    assert "not a dictionary of at most" in refused(path)


def test_big_endian_files_are_refused(path: Path) -> None:
    program, values = pickled({"a": tensor(np.ones(1), "0")}), np.ones(1, ">f4").tobytes()
    write_zip(path, {"data.pkl": program, "byteorder": b"big", "data/0": values})
    assert "not little endian" in refused(path)
    for system in (SYSTEM | {"little_endian": False}, {}, [], None):
        path.write_bytes(b"".join(pickle.dumps(value, 2) for value in (MAGIC, VERSION, system, {}, [])))
        assert "not little endian" in refused(path)


# Files that are none, and zip files that are another's


def test_files_of_others_are_refused(path: Path) -> None:
    assert "no such file" in refused(path)
    for content in (b"", b"\x80", b"version https://git-lfs.github.com/spec/v1\n", bytes(1000), b"PK\3\4" + bytes(99)):
        path.write_bytes(content)
        refused(path)
    path.write_bytes(pickle.dumps({"a": np.ones(3)}))
    refused(path)
    path.unlink()
    path.mkdir()
    assert "not a file" in refused(path)
    path.rmdir()
    os.mkfifo(path)
    assert "not a file" in refused(path)


@pytest.mark.parametrize(
    "name", ["../x", "../../x", "data/../../x", "/x", "other/data.pkl", "MODEL/data/0", "model", "x"]
)
def test_members_elsewhere_are_refused(path: Path, name: str) -> None:
    save(path, {"a": tensor(np.ones(3), "0")})
    for member in (name, f"model/{name}" if ".." in name else name):
        with zipfile.ZipFile(save(path, {"a": tensor(np.ones(3), "0")}), "a") as archive:
            archive.writestr(member, b"x")
        refused(path)
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(path: Path) -> None:
    state = {"a": tensor(np.ones(3), "0")}
    for name, content in (("model/data/0", bytes(12)), ("model/data.pkl", pickled(state))):
        with zipfile.ZipFile(save(path, state), "a") as archive:
            archive.writestr(name, content)
        assert re.search("two members with the same name|without one data.pkl", refused(path))


def test_compressed_members_are_refused(path: Path) -> None:
    size = 1 << 29
    program = pickled({"a": Tensor(Storage("Byte", np.ones(1), claimed=size), 0, (size,), (1,))})
    write_zip(path, {"data.pkl": program})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("model/data/0", bytes(size))
    assert path.stat().st_size < 4 << 20
    assert "compressed" in refused(path)
    assert "compressed" in refused(write_zip(path, {"data.pkl": pickled({})}, compressed=True))


def test_members_that_overlap_are_refused(path: Path) -> None:
    """A hundred names of the same bytes, which would be a hundred times the file."""
    count = 1 << 22
    first = write_zip(path, {"data.pkl": b"", "data/0": bytes(count)}).read_bytes()
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("model/data/0")
        entries = [archive.getinfo("model/data.pkl"), *(entry for _ in range(100))]
        headers = b"".join(
            central(info, f"model/data/{at}" if at else info.filename) for at, info in enumerate(entries)
        )
        start = archive.start_dir
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(entries), len(entries), len(headers), start, 0)
    path.write_bytes(first[:start] + headers + end)
    assert "larger than the file" in refused(path)


def central(info: zipfile.ZipInfo, name: str) -> bytes:
    """The entry of a member in a zip file's list of members, under another name."""
    sizes = (info.CRC, info.compress_size, info.file_size, len(name), 0, 0, 0, 0, 0)
    return struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, *sizes, info.header_offset) + name.encode()


def test_a_long_list_of_members_is_refused(path: Path) -> None:
    count = 1_200_000
    headers = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, *[0] * 14) * count
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, len(headers), 4, 0)
    path.write_bytes(b"PK\3\4" + headers + end)
    refused(path)


def bombs() -> Iterator[tuple[str, bytes]]:
    yield "a memo of gigabytes", b"Nr\xff\xff\xff\xff."
    yield "a deep key", b"}N" + b"\x85" * 200_000 + b"Ns."
    yield "a deep list", b"]" * 200_000 + b"a" * 190_000 + b"."
    yield "a key of 2^60 parts", b"}N" + b"\x94h\0h\0\x86" + b"".join(b"q\1h\1h\1\x86" for _ in range(60)) + b"Ns."
    yield "a dictionary in itself", b"}q\0" + text("a") + b"h\0s."
    yield "a list in itself", b"]q\0h\0a."
    yield "dictionaries without end", b"}\x94" * 5_000_000
    yield "a text of 16 MiB", text("😀" + "a" * ((1 << 24) - 100)) + b"."
    yield "a text of 4 GiB", b"X\xff\xff\xff\xff" + b"a" * 100
    yield "a frame of nobody", b"\x95" + b"\xff" * 8 + b"\x85."
    yield "a name of 15 MiB", b"c" + b"a" * (15 << 20) + b"\nb\n."
    yield "bytes of no encoding", b"X\2\0\0\0\xff\xfe."
    yield "a lone surrogate", b"}X\3\0\0\0\xed\xa0\x80Ns."
    yield "an end of nothing", b"."
    yield "a line that does not end", b"ccollections"
    yield "a name of lists", b"]]\x93."
    yield "a name of deep tuples", b"N" + b"\x85" * 200_000 + text("a") + b"\x93."


def test_bombs_of_pickle_are_refused(path: Path) -> None:
    for name, program in bombs():
        print(name)
        refused(write(path, b"\x80\x02" + program, {}))


@FORMATS
def test_a_pickle_of_20_mebibytes_is_refused(path: Path, legacy: bool) -> None:
    assert re.search(
        "too large|only .* remain", refused(write(path, b"\x80\x02" + text("a" * (20 << 20)) + b".", {}, legacy=legacy))
    )


def test_each_instruction_on_too_little_or_the_wrong_thing_is_refused_or_does_nothing(path: Path) -> None:
    for code in range(256):
        for before in (b"", b"N", b"N(NN", b"]]", b"}}", b"))"):
            write(path, b"\x80\x02" + before + bytes([code]) + b"\0\0\0\0\0\0\0\0\n\n.", {})
            with suppress(UsageError):
                assert read_state_dict(path) == {}


# Damage


@FORMATS
def test_truncated_files_are_refused(path: Path, legacy: bool) -> None:
    content = save(path, {"a": tensor(np.ones((2, 3)), "0"), "b": tensor(np.ones(5), "1")}, legacy=legacy).read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        refused(path)


def test_a_pickle_that_promises_more_than_there_is_is_refused(path: Path) -> None:
    for program in (b"X\xff\xff\xff\xffa.", b"\x8a\xff\1.", b"\x95\0\0", b"N"):
        for host in hosts(path, b"\x80\x02" + program):
            if zipfile.is_zipfile(host):  # in a legacy file, what is behind it belongs to it
                assert re.search("expected .* bytes|not enough data|damaged|exhausted", refused(host))
            refused(host)


@FORMATS
def test_mutants_give_a_line_or_arrays(path: Path, legacy: bool) -> None:
    state = OrderedDict({"a": tensor(np.ones((2, 3)), "0"), "b": Parameter(tensor(np.ones(5), "1", "Half"))})
    content = save(path, state, legacy=legacy).read_bytes()
    loaded = 0
    for seed in range(600):
        rng = np.random.default_rng(seed)
        mutant = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(mutant)))
            match rng.integers(4):
                case 0:
                    mutant[at] ^= 1 << int(rng.integers(8))
                case 1:
                    mutant[at] = int(rng.integers(256))
                case 2:
                    del mutant[at : at + int(rng.integers(1, 9))]
                case 3:
                    mutant[at:at] = rng.bytes(int(rng.integers(1, 9)))
        path.write_bytes(mutant)
        try:
            arrays = read_state_dict(path)
        except UsageError as problem:
            assert str(problem).isprintable() and len(str(problem)) < 1000, f"seed {seed}"
        else:
            loaded += 1
            assert sum(array.copy().size for array in arrays.values()) <= 11, f"seed {seed}"
    assert 0 < loaded < 300
