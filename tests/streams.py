"""Helpers for the tests of input streams."""

from collections.abc import Iterator

import pytest

from transformer.cli.input import Input
from transformer.translation import windows


def windows_of(lines: Input, size: int = windows.LINES) -> Iterator[list[str | None]]:
    """The windows of at most `size` lines that are translated together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "LINES", size)
        yield from windows.windows(lines.lines(), lines.is_ready)
