"""What torch itself saves, read without torch, equals what torch reads."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import MarianConfig, MarianMTModel

from transformer.errors import UsageError
from transformer.interop.torch_file.tensors import read_state_dict

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
DTYPES += [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]


def check(path: Path, state: object, *, zipped: bool, protocol: int = 2) -> dict[str, np.ndarray]:
    """Saves, reads, and compares each number and dtype with those of torch.load."""
    torch.save(state, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    found, expected = read_state_dict(path), torch.load(path, weights_only=False)
    assert isinstance(expected, Mapping) and list(found) == list(expected)
    for name, tensor in expected.items():
        array = found[name]
        assert array.shape == tuple(tensor.shape) and f"torch.{array.dtype}" == str(tensor.dtype)
        wide = tensor.detach().to(torch.float64).numpy()
        np.testing.assert_array_equal(array.astype(np.float64), wide, err_msg=name)
    return found


@FORMATS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_each_dtype_and_shape(tmp_path: Path, dtype: torch.dtype, zipped: bool) -> None:
    torch.manual_seed(1)
    shapes = [(), (1,), (7,), (2, 3), (5, 1, 3, 2), (0,), (0, 5)]
    state = {str(shape): (torch.randn(shape) * 5).abs().to(dtype) for shape in shapes}
    check(tmp_path / "pytorch_model.bin", state, zipped=zipped)


@FORMATS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_views_parameters_and_each_protocol(tmp_path: Path, protocol: int, zipped: bool) -> None:
    base = torch.arange(60.0).reshape(5, 12)
    marked = torch.nn.Parameter(base.clone())
    marked.is_initialized = True  # what Transformers does with attributes of its own
    state = {
        "base": base,
        "transposed": base.t(),
        "sliced": base[1:4, 2::3],
        "column": base[:, 7],
        "last": base[-1, -1],
        "parameter": torch.nn.Parameter(base),
        "marked": marked,
        "frozen": torch.nn.Parameter(base.half(), requires_grad=False),
    }
    found = check(tmp_path / "pytorch_model.bin", state, zipped=zipped, protocol=protocol)
    assert np.shares_memory(found["base"], found["transposed"])


@FORMATS
@pytest.mark.parametrize("dtype", DTYPES[1:4], ids=str)
def test_a_marian_model(tmp_path: Path, dtype: torch.dtype, zipped: bool) -> None:
    config = MarianConfig(
        vocab_size=53,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_position_embeddings=32,
        pad_token_id=52,
        decoder_start_token_id=52,
    )
    state = MarianMTModel(config).to(dtype).state_dict()
    found = check(tmp_path / "pytorch_model.bin", state, zipped=zipped)
    assert found["model.shared.weight"].shape == (53, 16)
    assert np.shares_memory(found["model.shared.weight"], found["lm_head.weight"])


@FORMATS
@pytest.mark.parametrize(
    "value",
    [
        torch.nn.Linear(2, 2),
        {"model": torch.nn.Linear(2, 2)},
        {"model": torch.nn.Linear(2, 2).state_dict()},
        {"a": torch.nn.Linear},
        {"a": torch.ones(2).to_sparse()},
        {"a": torch.ones(2, dtype=torch.complex64)},
        {"step": 3},
        [torch.ones(2)],
        torch.ones(2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_dictionary_of_plain_tensors_is_refused(tmp_path: Path, value: object, zipped: bool) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UsageError, match="save it as safetensors"):
        read_state_dict(path)
