"""A proxy in front of a real S3 server that injects faults, as networks and services have them."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web
from yarl import URL

from tests.services import free_port

Fault = Literal["500", "503", "403", "404", "507", "hang", "truncate", "flip", "lost reply", "accept twice"]
Choose = Callable[[web.Request], Fault | None]

CODES = {
    "500": "InternalError",
    "503": "SlowDown",
    "403": "AccessDenied",
    "404": "NoSuchKey",
    "507": "InsufficientStorage",  # a full disk
}


@dataclass
class Proxy:
    """Port of the proxy, the choice of the next fault (`choose`, which tests may replace), and the faults so far."""

    port: int
    choose: Choose = lambda request: None
    broken: Counter[str] = field(default_factory=Counter)
    passed: int = 0

    @property
    def endpoint(self) -> str:
        """Return the value of AWS_ENDPOINT_URL_S3."""
        return f"http://127.0.0.1:{self.port}"


def at_random(rate: float, seed: int, faults: tuple[Fault, ...]) -> Choose:
    """Break a share of the requests, each in one of the given ways."""
    rng = random.Random(seed)
    return lambda request: rng.choice(faults) if rng.random() < rate else None


@contextmanager
def fault_proxy(upstream: int) -> Iterator[Proxy]:
    """Pass requests on to a port of this machine until the body ends, in a thread of its own."""
    proxy, loop = Proxy(free_port()), asyncio.new_event_loop()
    ready = threading.Event()
    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(_serve(proxy, upstream, ready, stop)))
    thread.start()
    try:
        assert ready.wait(120)
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


async def _serve(proxy: Proxy, upstream: int, ready: threading.Event, stop: asyncio.Event) -> None:
    async with ClientSession(
        connector=TCPConnector(limit=0, force_close=True),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    ) as client:

        async def handle(request: web.Request) -> web.StreamResponse:
            return await _handle(proxy, upstream, client, request, stop)

        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", proxy.port).start()
        ready.set()
        await stop.wait()
        await runner.cleanup()


async def _handle(
    proxy: Proxy, upstream: int, client: ClientSession, request: web.Request, stop: asyncio.Event
) -> web.StreamResponse:
    fault = proxy.choose(request)
    proxy.passed += fault is None
    if fault is not None:
        proxy.broken[fault] += 1
    body = await request.read()
    if fault in CODES:
        code = CODES[fault]
        text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
        return web.Response(status=int(fault), text=text, content_type="application/xml")
    if fault == "hang":
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 120)
        return web.Response(status=500)
    headers = request.headers.copy()
    if fault == "flip" and body:
        body = _flipped(body)
    url = URL(f"http://127.0.0.1:{upstream}{request.raw_path}", encoded=True)
    async with client.request(request.method, url, headers=headers, data=body, allow_redirects=False) as reply:
        content = await reply.read()
        if fault == "lost reply" and request.transport is not None:
            request.transport.abort()
            return web.Response(status=500)
        if fault == "flip" and request.method == "GET" and content:
            content = _flipped(content)
        if fault == "accept twice" and reply.status == 412:
            return web.Response(status=200, headers={"ETag": '"0"'})
        response = web.StreamResponse(status=reply.status)
        for name, value in reply.headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                response.headers.add(name, value)
        length = int(reply.headers.get("Content-Length", len(content)))
        response.content_length = length
        await response.prepare(request)
        if fault == "truncate" and content:
            await response.write(content[: len(content) // 2])
            if request.transport is not None:
                request.transport.abort()
        elif request.method != "HEAD":
            await response.write(content)
        return response


def _flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])
