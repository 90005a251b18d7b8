"""Ctrl-C and SIGTERM as requests to save and stop."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from transformer.errors import Interrupted, Preempted

log = logging.getLogger(__name__)


class Stop:
    """Whether a signal has asked to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def is_asked(self) -> bool:
        return self.signal is not None

    def error(self, step: int, steps: int) -> Preempted:
        """To be raised once everything is saved: it carries the exit code."""
        kind = Interrupted if self.signal == signal.SIGINT else Preempted
        return kind(f"stopped by a signal at step {step} of {steps}, saved; the same command goes on from there")


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """The first SIGTERM or Ctrl-C sets the flag, a second one ends the process at once."""
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        log.info("%s: saving after this step, then stopping", signal.Signals(number).name)
        restore()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        yield stop
    finally:
        restore()
