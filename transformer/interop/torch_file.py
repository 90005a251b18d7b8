"""Tensors out of what `torch.save(state_dict)` wrote, without torch, and without running anything.

A pickle says which tensors there are (torch_pickle.py reads it). Their bytes lie beside it in a zip file or, as torch
before 1.6 wrote it, behind it; each storage may be seen by many tensors:

    zip       NAME/data.pkl, NAME/byteorder (if it is there), NAME/data/KEY of each storage; nothing is compressed
    legacy    pickles of a magic number, a version, the system, the dictionary and the list of keys; and then, for each
              storage, the number of its elements (int64) and their bytes
"""

import io
import re
import struct
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from transformer.data.lines import one_line
from transformer.errors import UsageError
from transformer.interop.torch_pickle import Machine, Tensor

MOST_AT_ONCE = 1 << 24  # bytes: the largest pickle, and the largest piece that is read of anything
MOST_TENSORS = 100_000
LEGACY_MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file of torch.save, by name, in their own dtypes (bfloat16 is that of ml_dtypes).

    They are read-only, and share memory where the file's tensors share storage. Whoever made the file is not trusted:
    it takes no more memory than twice its size and 300 MiB. Raises UsageError in one line.
    """
    try:
        if not path.is_file():  # a link to one may do: that is what the cache of Hugging Face has
            raise ValueError("missing, or not a file")
        with _File(path) as file:
            start = file.read(4)
            file.seek(0)
            if start == b"PK\3\4":
                return _read_zip(file, path.stat().st_size)
            if start[:1] == b"\x80":
                return _read_legacy(file)
            raise ValueError("not what torch.save writes")
    except ValueError as problem:
        fault = str(problem)
    except OSError as problem:
        fault = f"cannot be read: {problem.strerror or problem}"
    except (LookupError, EOFError, OverflowError, RuntimeError, struct.error, zipfile.BadZipFile) as problem:
        fault = f"damaged: {problem}"  # RuntimeError: what zipfile makes of encryption and of versions to come
    way_out = "save it as safetensors with Transformers and import that"
    raise UsageError(f"{one_line(str(path))}: {one_line(fault)[:300]}; {way_out}")


class _File(io.FileIO):
    """A file that is read in pieces: zipfile asks for the list of members, which may be of any length, in one."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(MOST_AT_ONCE if size is None or size < 0 else min(size, MOST_AT_ONCE))


def _take(file: IO[bytes], size: int) -> bytes:
    """So many bytes; a size that is a lie takes no more memory than there is in the file."""
    pieces, missing = [], size
    while missing and (piece := file.read(min(missing, MOST_AT_ONCE))):
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
                raise ValueError(f"{name} is missing, or not of the size that data.pkl says")
            with archive.open(member) as opened:
                return _take(opened, member.file_size)

        if "byteorder" in members and content("byteorder") != b"little":
            raise ValueError("its numbers are not little endian")
        if members["data.pkl"].file_size > MOST_AT_ONCE:
            raise ValueError("its data.pkl is too large")
        machine = Machine(io.BytesIO(content("data.pkl")))
        tensors = _tensors(machine.run())
        contents = {key: content(f"data/{key}", storage.size) for key, storage in machine.storages.items()}
    return {name: tensor.array(contents[tensor.storage.key]) for name, tensor in tensors.items()}


def _members(found: list[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    """By name, without the folder that all of them are in."""
    folders = [info.filename[:-8] for info in found if re.fullmatch(r"[^/]+/data\.pkl", info.filename)]
    if len(folders) != 1:
        raise ValueError("a zip file without one data.pkl; torch.save writes one")
    for info in found:
        if not info.filename.startswith(folders[0]) or ".." in info.filename.split("/"):
            raise ValueError(f"its member {info.filename[:100]!r} is not in the folder {folders[0][:100]!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ValueError(f"its member {info.filename[:100]!r} is compressed; torch.save compresses nothing")
    if sum(info.file_size for info in found) > size:
        raise ValueError("its members are larger than the whole file")
    members = {info.filename.removeprefix(folders[0]): info for info in found}
    if len(members) != len(found):
        raise ValueError("it has two members of one name")
    return members


def _read_legacy(file: _File) -> dict[str, np.ndarray]:
    pickles = io.BytesIO(file.read(MOST_AT_ONCE))
    machine = Machine(pickles)
    if (machine.run(), machine.run()) != (LEGACY_MAGIC, LEGACY_VERSION):
        raise ValueError("not what torch.save writes")
    system = machine.run()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("its numbers are not little endian")
    tensors = _tensors(machine.run())
    contents: dict[str, bytes] = {}
    keys = machine.run()
    file.seek(pickles.tell())
    for key in keys if isinstance(keys, list) else ():
        storage = machine.storages.get(key) if isinstance(key, str) else None
        if storage is None or int.from_bytes(_take(file, 8), "little") != storage.count:
            raise ValueError("its list of storages is not that of its tensors")
        contents[key] = _take(file, storage.size)
    if contents.keys() != machine.storages.keys() or file.read(1):
        raise ValueError("its list of storages is not that of its tensors")
    return {name: tensor.array(contents[tensor.storage.key]) for name, tensor in tensors.items()}


def _tensors(state: object) -> dict[str, Tensor]:
    if not isinstance(state, dict) or len(state) > MOST_TENSORS:
        raise ValueError(
            f"holds a {type(state).__name__}, not the dictionary of tensors of a model, {MOST_TENSORS} at most"
        )
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"holds {name[:100]!r}, a {type(value).__name__} and not a tensor")
    return state
