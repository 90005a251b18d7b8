"""Handles SIGTERM and Ctrl-C as requests to stop. The first one is recorded; a second one ends the process at once."""

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Records whether a signal has asked to stop, and raises an exception if the work may be interrupted."""

    def __init__(self, interruption: Callable[[int], BaseException], *, interruptible: bool, message: str = ""):
        """`interruption` returns the exception for a signal. `message` is logged when a signal arrives.
        `interruptible`: whether work may be interrupted outside the blocks of the method `interruptible`."""
        self.signal: int | None = None
        self.handled: Sequence[int] = ()
        self._message = message
        self._interruption, self._interruptible = interruption, interruptible

    def handle(self, number: int, frame: FrameType | None = None) -> None:
        self.signal = number
        if self._message:
            log.info("%s: %s", signal.Signals(number).name, self._message)
        if frame is not None and frame.f_code.co_name == "_xla_gc_callback":  # an exception raised there is lost
            return
        for handled in self.handled:
            signal.signal(handled, signal.SIG_DFL)
        if self._interruptible:
            self.raise_if_requested()

    def raise_if_requested(self) -> None:
        """Raises the interruption if a signal has asked to stop."""
        if self.signal is not None:
            raise self._interruption(self.signal)

    @contextmanager
    def interruptible(self, value: bool) -> Iterator[None]:
        """Sets whether a signal may interrupt the `with` block."""
        before, self._interruptible = self._interruptible, value
        try:
            if value:
                self.raise_if_requested()
            yield
        finally:
            self._interruptible = before


@contextmanager
def handling(request: StopRequest, signals: Sequence[int] = STOP_SIGNALS) -> Iterator[StopRequest]:
    """Makes the request handle the signals during the `with` block."""
    request.handled = signals
    before = {number: signal.signal(number, request.handle) for number in signals}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
