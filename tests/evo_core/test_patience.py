"""Timeouts for calls that may hang; calls that need the main thread run there."""

import signal
import threading
import time

import pytest

from evo_core.envs.patience import run_with_timeout


def test_a_call_that_hangs_times_out():
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        run_with_timeout(0.1, lambda: time.sleep(5))
    assert time.monotonic() - began < 4


def test_a_call_that_needs_the_main_thread_runs_there():
    before = signal.getsignal(signal.SIGUSR1)
    assert run_with_timeout(5, lambda: signal.signal(signal.SIGUSR1, before)) == before
    assert run_with_timeout(5, threading.current_thread) is not threading.main_thread()


def test_an_exception_of_a_call_with_a_timeout_propagates():
    with pytest.raises(ZeroDivisionError):
        run_with_timeout(5, lambda: 1 // 0)
