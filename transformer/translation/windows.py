"""Windows of lines. The lines of a window are translated together, so that most batches are full."""

from collections.abc import Callable, Iterable, Iterator

from transformer.errors import DataError

LINES = 2048
CHARACTERS = 1 << 20  # a window ends with the line at which it has so many characters


def windows(lines: Iterable[str | None], is_ready: Callable[[], bool] = lambda: True) -> Iterator[list[str | None]]:
    """Yields the lines in lists. A list ends when it has LINES lines, or at least CHARACTERS characters.

    A list also ends if `is_ready()` is false, because the next line has not arrived yet, so that a line that is typed
    into a terminal is translated at once. If a line raises DataError, the lines before it are yielded first.
    """
    window: list[str | None] = []
    characters = 0
    try:
        for line in lines:
            window.append(line)
            characters += len(line or "")
            if len(window) == LINES or characters >= CHARACTERS or not is_ready():
                yield window
                window, characters = [], 0
    except DataError:
        if window:
            yield window
        raise
    if window:
        yield window
