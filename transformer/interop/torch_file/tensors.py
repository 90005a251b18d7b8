"""Reads the tensors in a file of `torch.save(state_dict)` without PyTorch, and without executing any code in it.

A pickle lists the tensors (pickles.py). Their bytes are in other members of the same zip file or, before torch 1.6,
after the pickle. Several tensors may share a storage.

    zip       NAME/data.pkl, NAME/byteorder (optional), NAME/data/KEY for each storage; nothing is compressed
    legacy    pickles of a magic number, a version, the system, the dictionary and the list of keys; then, for each
              storage, the number of its elements (int64) and their bytes
"""

import io
import re
import struct
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from transformer.errors import UsageError, one_line
from transformer.interop.torch_file.pickles import Reader, Tensor

MAX_BYTES = 1 << 24  # of a pickle, and of any single read
MAX_TENSORS = 100_000
LEGACY_MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a file by name, in their own dtypes (bfloat16 is that of ml_dtypes).

    The arrays are read-only, and share memory if their tensors share a storage. The file is not trusted: reading it
    takes at most 300 MiB of memory plus twice its size. Raises UsageError if the file is damaged, or if torch.save does
    not write such a file.
    """
    try:
        if not path.is_file():  # links are accepted: the cache of Hugging Face has symbolic links
            raise UsageError(f"{one_line(str(path))}: {'not a file' if path.exists() else 'no such file'}")
        with _File(path) as file:
            start = file.read(4)
            file.seek(0)
            if start == b"PK\3\4":
                return _read_zip(file, path.stat().st_size)
            if start[:1] == b"\x80":
                return _read_legacy(file)
            raise ValueError("was not written by torch.save")
    except ValueError as problem:
        fault = str(problem)
    except OSError as problem:
        fault = f"cannot be read: {problem.strerror or problem}"
    except (LookupError, EOFError, OverflowError, RuntimeError, struct.error, zipfile.BadZipFile) as problem:
        fault = f"damaged: {problem}"  # zipfile raises RuntimeError for encrypted and for newer files
    remedy = "save it as safetensors with Transformers and import that"
    raise UsageError(f"{one_line(str(path))}: {one_line(fault)[:300]}; {remedy}")


class _File(io.FileIO):
    """A file that returns at most MAX_BYTES per read: zipfile reads the list of members, of any length, in one call."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(MAX_BYTES if size is None or size < 0 else min(size, MAX_BYTES))


def _take(file: IO[bytes], size: int) -> bytes:
    """Reads `size` bytes. Raises ValueError, without allocating `size` bytes, if the file has fewer."""
    pieces, missing = [], size
    while missing and (piece := file.read(min(missing, MAX_BYTES))):
        pieces.append(piece)
        missing -= len(piece)
    if missing:
        raise ValueError(f"ends too early: {missing} bytes are missing")
    return b"".join(pieces)


def _read_zip(file: _File, size: int) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        members = _members(archive.infolist(), size)

        def content(name: str, expected: int | None = None) -> bytes:
            member = members.get(name)
            if member is None or expected not in (None, member.file_size):
                raise ValueError(f"{name} is missing, or has another size than data.pkl states")
            with archive.open(member) as opened:
                return _take(opened, member.file_size)

        if "byteorder" in members and content("byteorder") != b"little":
            raise ValueError("its numbers are not little endian")
        if members["data.pkl"].file_size > MAX_BYTES:
            raise ValueError("its data.pkl is too large")
        reader = Reader(io.BytesIO(content("data.pkl")))
        tensors = _tensors(reader.read())
        contents = {key: content(f"data/{key}", storage.size) for key, storage in reader.storages.items()}
    return {name: tensor.array(contents[tensor.storage.key]) for name, tensor in tensors.items()}


def _members(found: list[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    """Returns the members by name, without their common folder. Raises ValueError if torch.save did not write them."""
    folders = [info.filename[:-8] for info in found if re.fullmatch(r"[^/]+/data\.pkl", info.filename)]
    if len(folders) != 1:
        raise ValueError("a zip file without one data.pkl; torch.save writes one")
    for info in found:
        if not info.filename.startswith(folders[0]) or ".." in info.filename.split("/"):
            raise ValueError(f"its member {info.filename[:100]!r} is not in the folder {folders[0][:100]!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ValueError(f"its member {info.filename[:100]!r} is compressed; torch.save compresses nothing")
    if sum(info.file_size for info in found) > size:
        raise ValueError("its members are larger than the file")
    members = {info.filename.removeprefix(folders[0]): info for info in found}
    if len(members) != len(found):
        raise ValueError("it has two members with the same name")
    return members


def _read_legacy(file: _File) -> dict[str, np.ndarray]:
    pickles = io.BytesIO(file.read(MAX_BYTES))
    reader = Reader(pickles)
    if (reader.read(), reader.read()) != (LEGACY_MAGIC, LEGACY_VERSION):
        raise ValueError("was not written by torch.save")
    system = reader.read()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("its numbers are not little endian")
    tensors = _tensors(reader.read())
    contents: dict[str, bytes] = {}
    keys = reader.read()
    file.seek(pickles.tell())
    for key in keys if isinstance(keys, list) else ():
        storage = reader.storages.get(key) if isinstance(key, str) else None
        if storage is None or int.from_bytes(_take(file, 8), "little") != storage.count:
            raise ValueError("its list of storages is not that of its tensors")
        contents[key] = _take(file, storage.size)
    if contents.keys() != reader.storages.keys() or file.read(1):
        raise ValueError("its list of storages is not that of its tensors")
    return {name: tensor.array(contents[tensor.storage.key]) for name, tensor in tensors.items()}


def _tensors(state: object) -> dict[str, Tensor]:
    if not isinstance(state, dict) or len(state) > MAX_TENSORS:
        raise ValueError(f"contains a {type(state).__name__}, not a dictionary of at most {MAX_TENSORS} tensors")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"contains {str(name)[:100]!r}, a {type(value).__name__} and not a tensor with a name")
    return state
