"""The first process of a worker's container, which ends once the guardians have reported how its runs ended.

`python -m deployments.container_init COMMAND…` runs a command, forwards the signal to stop, waits for all processes
that it leaves behind, and exits with its exit code. Without this the kernel kills guardians together with the worker.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

PR_SET_CHILD_SUBREAPER = 36
"""Option of prctl(2): orphans become children of this process, as they do of the first process of a container."""


def run(command: Sequence[str]) -> int:
    """Run a command and reap it and its orphaned children; return its exit code, 128 + n for signal n."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl: this process cannot adopt orphaned processes")
    ends = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # a signal that arrives now stays pending until the child exists
    process = subprocess.Popen(command, preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, ends))
    child, code = process.pid, 0

    def tell(number: int, frame: object) -> None:
        with suppress(ProcessLookupError):  # the process has just ended
            os.kill(child, number)

    for number in ends:
        signal.signal(number, tell)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ends)
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return code
        if pid == child:
            process.returncode = os.waitstatus_to_exitcode(status)
            code = process.returncode if process.returncode >= 0 else 128 - process.returncode


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
