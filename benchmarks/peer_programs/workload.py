"""The workload that every program of this folder trains, and how it is timed."""

import os
import sys
import time
from collections.abc import Callable

ENV, ENVS, LEARN_STEP, BATCH, EPOCHS, HIDDEN, HEAD = "LunarLander-v3", 16, 2048, 128, 4, 32, 32
"""A shared encoder of three layers of HIDDEN units, and one hidden layer of HEAD units for policy and value each."""

LENGTH = LEARN_STEP // ENVS
ROLLOUTS = 10
"""Rollouts of one agent that are timed."""

POPULATION, EVO_STEPS = 6, 6_144
UNITS, FEWER_ROLLOUTS = 64, 3
"""Of the recurrent workload: units of the LSTM, which replaces the encoder, and rollouts that are timed."""


def use_one_core() -> None:
    """Keep this process on one core: some libraries start threads whatever they are told."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def report(programs: dict[str, Callable[[], tuple[int, float]]]) -> None:
    """Run the program named on the command line; print its training steps per second."""
    use_one_core()
    steps, seconds = programs[sys.argv[1]]()
    print(f"steps/s {steps / seconds:.1f}")


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of processor time, over all threads of this process, that a call takes."""
    began = time.process_time()
    work()
    return time.process_time() - began
