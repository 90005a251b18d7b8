"""Reports losses that are NaN or infinite, and losses that jump, while a training runs."""

import logging
import math
from collections import deque

from transformer.errors import DivergenceError

log = logging.getLogger(__name__)

SKIPPED_IN_A_ROW = 20  # updates without a finite loss after which training ends
RECENT = 10  # updates whose mean loss is compared with that of earlier ones
MIN_HISTORY = 100  # earlier updates that are needed for the comparison
DECAY = 0.99  # of the mean of earlier losses
DEVIATIONS = 5  # standard deviations above the earlier mean that count as a jump


class LossMonitor:
    """Compares the mean loss of the latest updates with that of earlier ones."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._history, self._mean, self._variance = 0, 0.0, 0.0
        self._is_high = False

    def add(self, step: int, loss: float, skipped: int) -> None:
        """Adds the loss of an update, in nats per token; `skipped`: updates in a row that were skipped, this included.

        Raises DivergenceError.
        """
        if skipped:
            log.warning("warning: step %d: the loss or its gradient is NaN or infinite; this update is skipped", step)
            if skipped >= SKIPPED_IN_A_ROW:
                raise DivergenceError(
                    f"step {step}: {skipped} updates in a row without a finite loss; the checkpoints before them are"
                    " kept; lower train.learning_rate or train.clip_norm (--allow-config-change, or a new run_dir)"
                )
            return
        if len(self._recent) == RECENT:
            self._update_history(self._recent.popleft())
        self._recent.append(loss)
        level = math.fsum(self._recent) / len(self._recent)
        was_high = self._is_high
        self._is_high = self._history >= MIN_HISTORY and level > self._mean + DEVIATIONS * math.sqrt(self._variance)
        if self._is_high and not was_high:
            log.warning("warning: step %d: the loss has jumped from %.3f to %.3f", step, self._mean, level)

    def _update_history(self, loss: float) -> None:
        """Updates the mean and variance of earlier losses, weighted exponentially (Finch 2009, "Incremental calculation
        of weighted mean and variance")."""
        rate = max(1 - DECAY, 1 / (self._history + 1))
        difference = loss - self._mean
        self._mean += rate * difference
        self._variance = (1 - rate) * (self._variance + rate * difference**2)
        self._history += 1
