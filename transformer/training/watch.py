"""What goes wrong in a training, told while it happens: losses that are no numbers, and losses that jump."""

import logging
import math
from collections import deque

from transformer.errors import Diverged

log = logging.getLogger(__name__)

SKIPPED_IN_A_ROW = 20  # after so many updates without a finite loss, it will not come back
RECENT = 10  # updates, whose mean loss is compared with that of those before
SETTLED = 100  # updates, before which the mean is not known well enough
DECAY = 0.99
DEVIATIONS = 5  # the loss of single batches varies by so much only when something has happened


class Watch:
    """Sees the loss of every update."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._settled, self._mean, self._variance = 0, 0.0, 0.0
        self._is_high = False

    def see(self, step: int, loss: float, skipped: int) -> None:
        """`loss` in nats a token; `skipped`: updates in a row that were left out, 0 for one that was made.

        Raises Diverged.
        """
        if skipped:
            log.warning("step %d: the loss or its gradient is not finite; this update is left out", step)
            if skipped >= SKIPPED_IN_A_ROW:
                raise Diverged(
                    f"step {step}: {skipped} updates in a row without a finite loss; the checkpoints from before them"
                    " stay; lower train.learning_rate or train.clip_norm (--allow-config-change, or a new run_dir)"
                )
            return
        if len(self._recent) == RECENT:
            self._settle(self._recent.popleft())
        self._recent.append(loss)
        level = math.fsum(self._recent) / len(self._recent)
        was_high = self._is_high
        self._is_high = self._settled >= SETTLED and level > self._mean + DEVIATIONS * math.sqrt(self._variance)
        if self._is_high and not was_high:
            log.warning("step %d: the loss has jumped to %.3f, from %.3f", step, level, self._mean)

    def _settle(self, loss: float) -> None:
        """Mean and variance of the losses before, the latest most (Finch 2009, "Incremental calculation")."""
        rate = max(1 - DECAY, 1 / (self._settled + 1))
        difference = loss - self._mean
        self._mean += rate * difference
        self._variance = (1 - rate) * (self._variance + rate * difference**2)
        self._settled += 1
