"""Ctrl-C and SIGTERM as requests to save and stop."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from transformer.errors import Interrupted, Preempted

log = logging.getLogger(__name__)


class Abandoned(BaseException):
    """A signal has cut off what may be cut off. As with KeyboardInterrupt, no `except Exception` is to stop it."""


class Stop:
    """Whether a signal has asked to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._may_cut = False

    @property
    def is_asked(self) -> bool:
        return self.signal is not None

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """The handler of the signals. A second one ends the process at once."""
        self.signal = number
        for other in (signal.SIGTERM, signal.SIGINT):
            signal.signal(other, signal.SIG_DFL)
        log.info("%s: saving, then stopping", signal.Signals(number).name)
        if self._may_cut:
            raise Abandoned

    @contextmanager
    def may_cut(self) -> Iterator[None]:
        """What happens inside takes long and can be done again: a signal ends it with Abandoned."""
        self._may_cut = True
        try:
            if self.is_asked:
                raise Abandoned
            yield
        finally:
            self._may_cut = False

    def error(self, step: int, steps: int) -> Preempted:
        """To be raised once everything is saved: it carries the exit code."""
        kind = Interrupted if self.signal == signal.SIGINT else Preempted
        if step == 0:
            return kind("stopped by a signal before the first update; the same command begins again")
        return kind(f"stopped by a signal at step {step} of {steps}, saved; the same command goes on from there")


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """The first SIGTERM or Ctrl-C asks to stop, a second one ends the process at once."""
    stop = Stop()
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
