"""Signals: the first asks to stop and may cut off what can be done again, the second ends the process."""

import os
import signal
import subprocess
import sys

import pytest

from runs import ROOT
from transformer.errors import Interrupted, Preempted
from transformer.run.hooks import WorkInterrupted, stop_error, stop_on_signal

DEAF = """
import time
from transformer.run.hooks import stop_on_signal
with stop_on_signal() as stop:
    print("listening", flush=True)
    while stop.signal is None:
        time.sleep(0.01)
    print("asked", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.fault("T02")
def test_a_second_signal_ends_the_process_at_once(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout and process.stdout.readline() == "listening\n"
        process.send_signal(number)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(number)
        assert process.wait(timeout=20) == -number


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGTERM, Preempted), (signal.SIGINT, Interrupted)])
def test_only_what_may_be_cut_is_cut(number: signal.Signals, kind: type) -> None:
    before = signal.getsignal(number)
    with stop_on_signal() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal == number
        assert type(stop_error(stop, 3, 9)) is kind
        with pytest.raises(WorkInterrupted), stop.interruptible(True):
            raise AssertionError("asked before: not to be begun")
    with stop_on_signal() as stop, pytest.raises(WorkInterrupted), stop.interruptible(True):
        os.kill(os.getpid(), number)
        raise AssertionError("cut off")
    assert signal.getsignal(number) == before
