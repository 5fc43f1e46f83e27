"""The process of a run that `evolve_rl.run` starts: a request on standard input, JSON lines on standard output.

It is a program of its own, so that a run needs nothing of the process that asked for it: neither a `__main__` that can
be imported, which workers started anew would import again, nor an event loop that stands still. When standard input
ends, because the other process closed it or died, the run is interrupted as by Ctrl-C.
"""

import _thread
import json
import os
import signal
import sys
import threading
from typing import Any, BinaryIO

from evo_core.installation import prefer_own_packages, require_own_packages


def main() -> None:
    """Run what the first line of standard input asks for; the exit code is that of `evolve run`."""
    prefer_own_packages()
    require_own_packages()
    from flows.observers.relay import Pipe

    pipe = Pipe(os.dup(1))
    sys.stdout.flush()
    os.dup2(2, 1)  # whatever prints, here and in workers, must not disturb the lines
    given = os.fdopen(os.dup(0), "rb", buffering=0)  # a buffer's lock, held by a daemon, would abort the exit
    request = json.loads(given.readline())
    threading.Thread(target=_interrupt_at_end, args=(given,), daemon=True).start()
    sys.exit(_run(request, pipe))


def _run(request: dict[str, Any], pipe: Any) -> int:
    from contextlib import nullcontext

    from rich.console import Console

    from evo_core.config.parsing import ConfigError, parse_config
    from flows.cli.run import prepare
    from flows.cli.session import read_settings, run_to_its_end
    from flows.observers.relay import Sender
    from flows.prefect_server.proxies import bypass_proxies
    from flows.settings import BadInput
    from tasks.store.errors import DeniedError, StoreError, UnsafeError

    bypass_proxies()
    try:
        start = prepare(parse_config(request["config"]), request["run_id"], read_settings(request["settings"]))
        pipe.send("starting", start.run_id)
        report = run_to_its_end(start, Console(quiet=True), lambda console, config: nullcontext(Sender(pipe)))
    except (ConfigError, BadInput, DeniedError, UnsafeError) as error:
        pipe.send("refused", str(error))
        return 2
    except StoreError as error:
        pipe.send("failed", str(error))
        return 1
    pipe.send("report", {**report.as_json(), "behind": report.summary.behind if report.summary else None})
    return report.exit_code


def _interrupt_at_end(given: BinaryIO) -> None:
    while given.read(4096):
        pass
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


if __name__ == "__main__":
    main()
