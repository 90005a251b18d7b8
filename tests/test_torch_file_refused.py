"""A file of torch.save is refused where a tensor leaves its storage, a zip member is hostile, or bytes are damaged."""

import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from torch_files import (
    FORMATS,
    MAGIC,
    SYSTEM,
    VERSION,
    Parameter,
    Storage,
    Tensor,
    pickled,
    refused,
    save,
    tensor,
    write,
    write_zip,
)
from transformer.errors import UsageError
from transformer.interop.torch_file.tensors import read_state_dict


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pytorch_model.bin"


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


# Damage


@FORMATS
def test_truncated_files_are_refused(path: Path, legacy: bool) -> None:
    content = save(path, {"a": tensor(np.ones((2, 3)), "0"), "b": tensor(np.ones(5), "1")}, legacy=legacy).read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        refused(path)


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
