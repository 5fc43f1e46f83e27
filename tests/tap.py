"""A TCP proxy that passes bytes through unchanged and counts HTTP requests."""

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.services import free_port

_REQUEST = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (\S+) HTTP/1\.1\r\n")
_NAMES = re.compile(r"\?.*|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{64}|\d{3,}")


@dataclass
class Tap:
    """Port of the tap, and number of requests by method and path; names of objects are replaced by a star."""

    port: int
    requests: Counter[str] = field(default_factory=Counter)
    websockets: int = 0

    @property
    def total(self) -> int:
        """Requests so far; connections that became websockets are not among them."""
        return self.requests.total()

    def count(self, sent: bytes) -> bool:
        """Count the request that begins a client's bytes, if one does; return True if it opens a websocket.

        A client waits for the reply before it sends the next request, so no other place can hold one.
        """
        request = _REQUEST.match(sent)
        if request is None:
            return False
        if b"upgrade: websocket" in sent.lower():
            self.websockets += 1
            return True
        method, path = (part.decode() for part in request.groups())
        self.requests[f"{method} {_NAMES.sub('*', path)}"] += 1
        return False


@contextmanager
def tapped(upstream: int) -> Iterator[Tap]:
    """Listen on a port of this machine and pass everything on to another one until the body ends."""
    tap, loop = Tap(free_port()), asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(_serve(tap, upstream, ready, stop)))
    thread.start()
    try:
        assert ready.wait(120)
        yield tap
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


async def _serve(tap: Tap, upstream: int, ready: threading.Event, stop: asyncio.Event) -> None:
    async def connect(client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        try:
            server_in, server_out = await asyncio.open_connection("127.0.0.1", upstream)
        except OSError:
            client_out.close()
            return
        await asyncio.gather(_pass(client_in, server_out, tap), _pass(server_in, client_out, None))

    server = await asyncio.start_server(connect, "127.0.0.1", tap.port)
    ready.set()
    await stop.wait()
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter, tap: Tap | None) -> None:
    with suppress(OSError):
        while sent := await source.read(2**20):
            if tap is not None and tap.count(sent):
                tap = None  # what follows are frames
            target.write(sent)
            await target.drain()
    with suppress(OSError):
        target.close()
