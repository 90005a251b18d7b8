"""The pickle in a file of torch.save runs nothing, names nothing but tensors, and takes little time and memory."""

import copyreg
import pickle
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from torch_files import FORMATS, hosts, refused, text, write
from transformer.errors import UsageError
from transformer.interop.torch_file.tensors import read_state_dict


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pytorch_model.bin"


# Nothing runs


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


# Nothing takes long, and what is cut off is refused


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


def test_a_pickle_that_promises_more_than_there_is_is_refused(path: Path) -> None:
    for program in (b"X\xff\xff\xff\xffa.", b"\x8a\xff\1.", b"\x95\0\0", b"N"):
        for host in hosts(path, b"\x80\x02" + program):
            if zipfile.is_zipfile(host):  # in a legacy file, what is behind it belongs to it
                assert re.search("expected .* bytes|not enough data|damaged|exhausted", refused(host))
            refused(host)
