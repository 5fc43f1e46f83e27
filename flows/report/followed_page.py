"""The report of a run as a page that is served on this machine alone, and reloads itself when the run has news."""

import sys
import threading
import time
from collections.abc import Callable
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from evo_core.records.canonical import sha256
from evo_core.records.chain import record_hash
from flows.outcome import describe_status, stored_ending
from flows.report.html_page import make_figures, render_page
from flows.report.run_data import view_run
from flows.settings import BadInput
from tasks.runs.ref import RunRef

LOOPBACK = "127.0.0.1"
HOSTS = (LOOPBACK, "localhost", "[::1]")
"""Names by which a browser on this machine reaches the page; one that points elsewhere here is refused."""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:; connect-src 'self'"
)
"""The page holds everything that it needs, and asks for nothing but its own version. (plotly compiles shaders.)"""

RELOAD_S = 3
LOOK_S = 2.0
"""Time for which a look at the store counts, whoever asks."""

SCRIPT = """<script>
const shown = "%s";
setInterval(async () => {
  try {
    const answer = await fetch("version");
    if (answer.ok && (await answer.text()) !== shown) location.reload();
  } catch (error) { /* the server has ended: the page stays */ }
}, %d);
</script></body>"""

WAITING = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{run_id}</title></head>
<body style="font-family: system-ui, sans-serif; margin: 2em"><h1>{run_id}</h1><p>{said}</p></body></html>"""


class FollowedReport:
    """The newest report of a run, drawn again only when the store holds something new."""

    def __init__(self, open_run: Callable[[], RunRef]) -> None:
        self._open_run = open_run
        self._lock = threading.Lock()
        self._looked = -LOOK_S
        self._version = self._drawn = ""
        self._page = b""

    def version(self) -> str:
        """Return a short hash of what the report shows: the last COMMIT, and how the run ended."""
        with self._lock:
            return self._look()

    def page(self) -> bytes:
        """Return the page, drawn from the store if it has news."""
        with self._lock:
            if (version := self._look()) != self._drawn:
                self._page, self._drawn = self._draw(version), version
            return self._page

    def _look(self) -> str:
        if time.monotonic() - self._looked >= LOOK_S:
            ref = self._open_run()
            head = ref.open().head()
            found = [record_hash(head) if head else "", describe_status(stored_ending(ref, head)), repr(ref.config)]
            self._version, self._looked = sha256("\n".join(found).encode())[:16], time.monotonic()
        return self._version

    def _draw(self, version: str) -> bytes:
        ref = self._open_run()
        try:
            view = view_run(ref)
            page = render_page(view, make_figures(view))
        except BadInput as error:  # no generation is finished yet
            page = WAITING.format(run_id=escape(ref.run_id), said=escape(str(error)))
        before, _, after = page.rpartition("</body>")
        return (before + SCRIPT % (version, RELOAD_S * 1000) + after).encode()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Print the traceback of an error, but not when a browser has closed its connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def report_server(report: FollowedReport, port: int) -> ThreadingHTTPServer:
    """Return a server of a report on this machine's loopback address; port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers.get("Host", "").lower()
            if host not in HOSTS and host.rpartition(":")[0] not in HOSTS:
                self._answer(403, b"This host name is not allowed.", "text/plain")
                return
            pages: dict[str, tuple[Callable[[], str | bytes], str]]
            pages = {"/": (report.page, "text/html"), "/version": (report.version, "text/plain")}
            if (found := pages.get(self.path.partition("?")[0])) is None:
                self._answer(404, b"There is only / here.", "text/plain")
                return
            try:
                content = found[0]()
            except Exception as error:  # of a store that is away for a while: the page asks again
                self._answer(503, f"{type(error).__name__}: {error}".encode(), "text/plain")
                return
            self._answer(200, content if isinstance(content, bytes) else content.encode(), found[1])

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing about requests."""

        def _answer(self, code: int, content: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(content)

    return _Server((LOOPBACK, port), Handler)
