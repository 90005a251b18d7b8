"""What TensorBoard shows of a run."""

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

SECONDS = 30  # after which the disk gets what is new, to be looked at


class Board:
    """A file of events, without which a training goes on.

    Not tensorboardX's SummaryWriter: its thread dies of a full disk, and soon after a training waits for it for ever.
    """

    def __init__(self, directory: Path, step: int):
        """What a run that was cut off has told of later steps than `step` is not shown."""
        self._records: RecordWriter | None = None
        self._flushed = time.monotonic()
        with self._dispensable():
            directory.mkdir(exist_ok=True)
            self._records = RecordWriter(f"{directory}/events.out.tfevents.{time.time_ns()}.{socket.gethostname()}")
            self._add(Event(wall_time=time.time(), file_version="brain.Event:2"))
            self._add(Event(wall_time=time.time(), step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        values = [Summary.Value(tag=name, simple_value=number) for name, number in numbers.items()]
        with self._dispensable():
            self._add(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        if time.monotonic() - self._flushed > SECONDS:
            self.flush()

    def flush(self) -> None:
        self._flushed = time.monotonic()
        with self._dispensable():
            if self._records is not None:
                self._records.flush()

    def close(self) -> None:
        with self._dispensable():
            if self._records is not None:
                self._records.close()

    def _add(self, event: Event) -> None:
        if self._records is not None:
            self._records.write(event.SerializeToString())

    @contextmanager
    def _dispensable(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            log.warning("TensorBoard gets no more of this run (%s); metrics.jsonl has all", problem.strerror)
            records, self._records = self._records, None
            if records is not None:
                with suppress(OSError):  # what it still holds finds no place either
                    records.close()
