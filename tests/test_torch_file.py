"""The tensors in files of torch.save come out without torch, as they were saved."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from torch_files import FORMATS, KINDS, Parameter, Storage, Tensor, pickled, save, tensor, write_zip
from transformer.interop.torch_file.tensors import read_state_dict


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pytorch_model.bin"


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
