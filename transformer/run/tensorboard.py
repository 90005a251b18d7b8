"""Writes the metrics of a run for TensorBoard."""

import logging
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

log = logging.getLogger(__name__)

FLUSH_SECONDS = 30  # so that a running training can be watched


class TensorBoardWriter:
    """Writes a file of events. If the file cannot be written, a warning is logged and training continues.

    This class does not use SummaryWriter of tensorboardX. The thread of a SummaryWriter ends when the disk is full, and
    the training would soon wait for that thread forever.
    """

    def __init__(self, directory: Path, step: int):
        """Opens a new file. TensorBoard then hides the metrics after `step` in earlier files."""
        self._records: RecordWriter | None = None
        self._flushed = time.monotonic()
        with self._tolerating_errors():
            directory.mkdir(exist_ok=True)
            self._records = RecordWriter(f"{directory}/events.out.tfevents.{time.time_ns()}.{socket.gethostname()}")
            self._add(Event(wall_time=time.time(), file_version="brain.Event:2"))
            self._add(Event(wall_time=time.time(), step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        with self._tolerating_errors():
            self._add(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        self._flushed = time.monotonic()
        with self._tolerating_errors():
            if self._records is not None:
                self._records.flush()

    def close(self) -> None:
        with self._tolerating_errors():
            if self._records is not None:
                self._records.close()

    def _add(self, event: Event) -> None:
        if self._records is not None:
            self._records.write(event.SerializeToString())

    @contextmanager
    def _tolerating_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            log.warning(
                "warning: no more metrics are written for TensorBoard (%s); metrics.jsonl has all", problem.strerror
            )
            records, self._records = self._records, None
            if records is not None:
                with suppress(OSError):  # its buffer cannot be written either
                    records.close()
