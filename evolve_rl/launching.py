"""Run the whole pipeline from Python: in a process of its own, whose progress is shown here."""

import json
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from evo_core.config.parsing import parse_config
from evo_core.config.run_config import RunConfig
from evolve_rl.opened_run import Run, check_settings, open_run
from flows.cli.flags import load_config
from flows.observers.observer import Observer
from flows.observers.relay import deliver_event
from flows.settings import BadInput, Failed

LAST_LINES = 30
"""Lines of a process's other output that an error shows."""

PATIENCE_S = 120.0
"""Seconds that an interrupted run may take to stop its workers."""

Refresh = Callable[[], None]


def run(
    config: RunConfig | Mapping[str, object] | str | Path,
    *,
    store: str | Path | None = None,
    run_id: str | None = None,
    overrides: Mapping[str, object] | None = None,
    progress: bool = True,
    **settings: object,
) -> Run:
    """Evolve a population as `evolve run` does, and return the finished run.

    `config` is a configuration, a mapping of its sections, a YAML file, or the name of a ready configuration;
    `overrides` are dotted names, such as {"training.max_steps": 50_000}. `store` is a directory or s3://…, by default
    EVOLVE_STORE, else ./runs. A run id that exists is continued. `settings` are the operational settings of `evolve
    run`, such as workers=2, device="cpu", env_path=".", env_packages="my_envs".

    The run works in a process of its own with its workers, so this can be called in a notebook, with an event loop that
    runs, and at the top level of a script. Ctrl-C, or the notebook's stop button, stops it; called again with its run
    id it goes on. Raises ConfigError or BadInput, before anything is written, for what cannot run, and Failed, with
    the reason, for a run that failed.
    """
    loaded = _read(config, overrides)
    given = check_settings({**settings, "store": None if store is None else str(store)})
    request = {"config": loaded.model_dump(mode="json"), "run_id": run_id, "settings": given}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "evolve_rl.run_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches this process, which then stops the run
    )
    report = _Launched(process).follow(request, loaded, progress=progress)
    if report["behind"]:
        warnings.warn(f"{report['behind']}; call run again with run_id={report['run_id']!r}", stacklevel=2)
    others = {name: value for name, value in given.items() if name != "store"}
    return open_run(report["store"].rpartition("/")[0], report["run_id"], **others)


class _Launched:
    """The process of a run, followed to its end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._said: deque[str] = deque(maxlen=LAST_LINES)
        self._run_id: str | None = None
        self._result: tuple[str, Any] | None = None

    def follow(self, request: object, config: RunConfig, *, progress: bool) -> Any:
        """Send the request, show the run, and return its report."""
        process = self._process
        assert process.stdin and process.stdout and process.stderr
        with _closing(process), _interruptible(), _shown(config, progress) as (observer, refresh, print_line):
            reader = threading.Thread(target=self._forward, args=(process.stderr, print_line), daemon=True)
            reader.start()
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                self._take(process.stdout, observer, refresh)
            except BrokenPipeError:
                pass  # it has ended, and said why
            except KeyboardInterrupt:
                self._interrupt()
                raise
            process.wait()
            reader.join(timeout=5)
        return self._outcome()

    def _take(self, lines: IO[bytes], observer: Observer, refresh: Refresh) -> None:
        for line in lines:
            said = json.loads(line)
            kind, content = said["kind"], said["content"]
            if kind == "starting":
                self._run_id = content
            elif not deliver_event(kind, content, observer):
                self._result = kind, content
            refresh()

    def _forward(self, lines: IO[bytes], print_line: Callable[[str], None]) -> None:
        for raw in lines:
            line = raw.decode(errors="replace").rstrip("\n")
            self._said.append(line)
            print_line(line)

    def _interrupt(self) -> None:
        """Ask the run to stop, and wait for it; a second Ctrl-C ends it at once."""
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.close()
        if self._run_id:
            print(f"stopping; nothing is lost: run(…, run_id={self._run_id!r}) goes on", file=sys.stderr)
        with suppress(subprocess.TimeoutExpired):
            assert self._process.stdout
            drain = threading.Thread(target=self._process.stdout.read, daemon=True)
            drain.start()
            self._process.wait(PATIENCE_S)

    def _outcome(self) -> Any:
        kind: str
        content: Any
        kind, content = self._result or ("failed", None)
        if kind == "refused":
            raise BadInput(re.sub(r"^--([a-z-]+): ", lambda name: f"{name[1].replace('-', '_')}: ", content))
        if kind == "report" and content["status"] in ("target_reached", "budget_spent"):
            return content
        again = f"; run(…, run_id={self._run_id!r}) goes on where it stopped" if self._run_id else ""
        if kind == "report":
            content = content["error"]
        last = "\n".join(self._said)
        code = self._process.returncode
        raise Failed(f"{content or f'its process ended with code {code}; its last output:{chr(10)}{last}'}{again}")


def _read(config: object, overrides: Mapping[str, object] | None) -> RunConfig:
    if isinstance(config, RunConfig):
        return parse_config(config.model_dump(mode="json"), overrides)
    if isinstance(config, Mapping):
        return parse_config(config, overrides)
    if isinstance(config, str | Path):
        return load_config(Path(config), overrides or {})
    raise BadInput(
        f"config: expected a RunConfig, a mapping, a YAML file or a ready configuration's name, got {type(config)}"
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt at once, which asyncio.run puts off until its loop can cancel something."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _closing(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Make sure that the process has ended and its pipes are closed."""
    try:
        yield
    finally:
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@contextmanager
def _shown(config: RunConfig, progress: bool) -> Iterator[tuple[Observer, Refresh, Callable[[str], None]]]:
    """Show the run below the cell of a notebook, on a terminal, or as lines on standard error.

    Yields its observer, a function to call after every event, and one that takes lines of other output.
    """
    from flows.observers.notebook import in_notebook, notebook_display
    from flows.observers.terminal import display

    if not progress:
        yield Observer(), _nothing, lambda line: None
    elif in_notebook():
        said: deque[str] = deque(maxlen=LAST_LINES)
        with notebook_display(config, lambda: _other_output(said)) as (observer, refresh):
            yield observer, refresh, said.append
    else:
        console = Console(stderr=True)
        with display(console, config) as observer:
            yield observer, _nothing, lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True)


def _nothing() -> None:
    pass


def _other_output(lines: "deque[str]") -> str:
    if not lines:
        return ""
    return f"<details><summary>other output</summary><pre>{escape(chr(10).join(lines))}</pre></details>"
