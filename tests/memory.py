"""How much memory something takes, for tests that bound it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@contextmanager
def at_most(mebibytes: int) -> Iterator[None]:
    """Asserts that the process' peak inside is no further above what it held before. Not checked where Linux is not."""
    if not RESET.exists():
        yield
        return
    RESET.write_text("5")  # the peak is now what is held
    before = _peak()
    yield
    assert _peak() - before <= mebibytes << 10


def _peak() -> int:
    """In KiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
    if found is None:
        pytest.fail("no VmHWM in /proc/self/status")
    return int(found[1])
