"""`evolve` in processes of its own, forked from one that has imported everything: 0.1 CPU seconds each instead of 4.

Run as a script it is that process. It has no thread and has computed nothing, so that it may be forked; its forks take
environment, directory and output of their own, and then call the command line as its console script does. The fork
server of a run, from which its workers are forked, is such a fork too, instead of a new Python.
"""

import atexit
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from typing import IO, Any

READ_AT_START = (
    *("DASK_", "PYTHONHASHSEED", "PYTHONWARNINGS", "EVOLVE_NUMERICS"),
    *("OMP_", "MKL_", "ATEN_", "ONEDNN_", "OPENBLAS_", "NPY_", "GLIBC_"),
)
"""Prefixes of variables that a process reads as it starts or imports: a fork is too late for them."""

FORK_SERVER = "forkserver"
"""Name of the process of a fork server that was forked, and of its workers."""


class Forked:
    """A command that runs in a fork; it has the methods of subprocess.Popen that tests use."""

    def __init__(self, arguments: list[str], directory: str, environment: dict[str, str]) -> None:
        self.args, self.returncode = arguments, None
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_preloaded())
        out, err = os.pipe(), os.pipe()
        request = json.dumps([arguments, directory, environment]).encode()
        socket.send_fds(self._connection, [len(request).to_bytes(8, "big")], [out[1], err[1]])
        self._connection.sendall(request)
        os.close(out[1])
        os.close(err[1])
        self.stdout: IO[str] = os.fdopen(out[0], encoding="utf-8", errors="replace")
        self.stderr: IO[str] = os.fdopen(err[0], encoding="utf-8", errors="replace")
        self.pid = self._number()

    def _number(self) -> int:
        content = self._connection.recv(8, socket.MSG_WAITALL)
        if len(content) < 8:
            raise RuntimeError("the process that forks commands has ended")
        return int.from_bytes(content, "big", signed=True)

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        with suppress(TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; return the exit code."""
        if self.returncode is None:
            ready, _, _ = select.select([self._connection], [], [], timeout)
            if not ready:
                raise TimeoutExpired(self.args, timeout or 0)
            self.returncode = self._number()
            self._connection.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read its output until its end; return that."""
        deadline = None if timeout is None else time.monotonic() + timeout
        said = {}
        readers = [
            threading.Thread(target=lambda f=file: said.__setitem__(f, f.read()), daemon=True)
            for file in (self.stdout, self.stderr)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(None if deadline is None else max(0, deadline - time.monotonic()))
            if reader.is_alive():
                raise TimeoutExpired(self.args, timeout or 0)
        self.wait(None if deadline is None else max(0.1, deadline - time.monotonic()))
        self.stdout.close()
        self.stderr.close()
        return said[self.stdout], said[self.stderr]

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def can_fork(arguments: tuple[str, ...], environment: dict[str, str]) -> bool:
    """Return True if a fork behaves like a fresh process with these arguments and this environment."""
    if sys.platform != "linux" or any(argument.startswith("--numerics") for argument in arguments):
        return False
    return all(os.environ.get(name) == value for name, value in environment.items() if name.startswith(READ_AT_START))


_server: tuple[int, Popen[bytes], str] | None = None


def _preloaded() -> str:
    """Return the socket of this process's preloaded process; it ends with this one."""
    global _server
    if _server is None or _server[0] != os.getpid():
        from flows.engine.forkserver import READ_AT_START as OF_WORKERS

        address = f"\0evolve-tests-{os.getpid()}-{time.monotonic_ns()}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "EVOLVE_"))}
        command = [sys.executable, os.path.abspath(__file__), address[1:], str(os.getpid())]
        loaded = {name: value for name, value in OF_WORKERS.items() if name != "PYTHONHASHSEED"}
        process = Popen(command, env=loaded | clean, stdin=DEVNULL, stdout=PIPE, start_new_session=True)
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError("the process that forks commands did not start")
        atexit.register(process.kill)
        _server = os.getpid(), process, address
    return _server[2]


def _serve(address: str, parent: int) -> tuple[list[str], str, dict[str, str]]:
    """Fork for every request; return it in the fork. Ends with the process that started it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{address}")
    listener.listen()
    print("ready", flush=True)
    running: dict[int, socket.socket] = {}
    while os.getppid() == parent:
        ready, _, _ = select.select([listener], [], [], 0.02 if running else 1)
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            with running.pop(pid) as connection, suppress(OSError):
                connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))
        if not ready:
            continue
        connection, _ = listener.accept()
        size, files, _, _ = socket.recv_fds(connection, 8, 2)
        request = json.loads(connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
        pid = os.fork()
        if pid == 0:
            os.setsid()
            for number, file in enumerate(files, start=1):
                os.dup2(file, number)
            for open_one in (listener, connection, *running.values()):
                open_one.close()
            for file in files:
                os.close(file)
            arguments, directory, environment = request
            return arguments, directory, environment
        for file in files:
            os.close(file)
        connection.sendall(pid.to_bytes(8, "big", signed=True))
        running[pid] = connection
    raise SystemExit


def _become(directory: str, environment: dict[str, str]) -> None:
    """Set up a fork as a fresh process would be."""
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    for place in reversed(environment.get("PYTHONPATH", "").split(os.pathsep)):
        if place:
            sys.path.insert(0, place)
            if os.path.exists(os.path.join(place, "sitecustomize.py")):
                sys.modules.pop("sitecustomize", None)
                __import__("sitecustomize")


def _read_settings_late() -> None:
    """Let Prefect read its settings when they are first asked for, as if it were imported only then."""
    from prefect import context
    from prefect.logging.configuration import setup_logging

    get = context.SettingsContext.__dict__["get"]

    def first(cls: type) -> Any:
        context.SettingsContext.get = get
        context.refresh_global_settings_context()
        setup_logging(incremental=False)
        return context.SettingsContext.get()

    context.SettingsContext.get = classmethod(first)


def _offer_fork_server() -> None:
    """Fork a process that becomes multiprocessing's fork server when this process starts one; a second one is real.

    It is forked before anything else, because later this process has threads.
    """
    from multiprocessing import util

    mine, its = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        mine.close()
        try:
            _become_fork_server(its)
        finally:
            os._exit(0)
    its.close()
    start = util.spawnv_passfds

    def start_or_use(path: str, arguments: list[str], files: list[int]) -> int:
        if "multiprocessing.forkserver" not in arguments[-1]:
            return start(path, arguments, files)
        inherited = json.dumps([os.getcwd(), dict(os.environ)]).encode()
        socket.send_fds(mine, [len(inherited).to_bytes(8, "big")], [*files, 1, 2])
        mine.sendall(inherited)
        mine.close()
        util.spawnv_passfds = start
        return pid

    util.spawnv_passfds = start_or_use


def _become_fork_server(connection: socket.socket) -> None:
    """Wait until the command starts its fork server, and be it; end if the command ends without one."""
    from multiprocessing import forkserver

    from prefect import context
    from prefect.logging.configuration import setup_logging

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # as start_forkserver does
    size, files, _, _ = socket.recv_fds(connection, 8, 4)
    if not size:
        return
    *files, out, err = files
    directory, environment = json.loads(connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
    connection.close()
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    context.refresh_global_settings_context()
    setup_logging(incremental=False)
    with open("/proc/self/comm", "w") as name:
        name.write(FORK_SERVER)
    forkserver.main(*files, [])


def _call(arguments: list[str]) -> None:
    """Call the command line."""
    from flows.cli.app import main

    _read_settings_late()
    sys.argv = [os.path.join(os.path.dirname(sys.executable), "evolve"), *arguments]
    main()


def _preload() -> None:
    import gc
    import importlib

    modules: tuple[Any, ...] = ("flows.cli.app", "deployments.deploy", "flows.evolve", "tasks.views.study", "s3fs")
    commands = (
        "ending",
        "evaluate",
        "export",
        "gc",
        "rebuild",
        "replay",
        "report",
        "run",
        "resume",
        "session",
        "status",
        "verify",
    )
    for name in (
        *modules,
        "prefect_dask",
        "flows.observers.terminal",
        *(f"flows.cli.{command}" for command in commands),
    ):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1, threading.enumerate()


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(sys.executable)  # as a console script has it
    _preload()
    own_arguments, own_directory, own_environment = _serve(sys.argv[1], int(sys.argv[2]))
    _become(own_directory, own_environment)
    _offer_fork_server()
    _call(own_arguments)
