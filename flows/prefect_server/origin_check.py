"""ASGI application of our Prefect servers: rejects requests for other host names or from other origins."""

import os
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from flows.prefect_server.database_template import with_template
from flows.prefect_server.embedded import HOSTS, ORIGINS


class SameOriginMiddleware:
    """Accepts only requests to the server's own host names, and none from pages of other origins; websockets too.

    Prefect checks neither: a page elsewhere could listen to events and logs, and one whose name is pointed at this
    address (DNS rebinding) would count as the server's own. A name without a port is one on every port.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], origins: Collection[str]) -> None:
        self.app, self.hosts, self.origins = app, frozenset(hosts), frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request, or reject it."""
        if scope["type"] in ("http", "websocket") and not self._knows(Headers(scope=scope)):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await PlainTextResponse("This host name or origin is not allowed.", 403)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _knows(self, headers: Headers) -> bool:
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        named = host in self.hosts or host.rpartition(":")[0] in self.hosts
        return named and (origin is None or origin in self.origins)


def create_app() -> ASGIApp:
    """Create Prefect's ASGI application with the origin check, configured by the environment."""
    from prefect.server.api.server import create_app as create_prefect

    from flows.prefect_server.write_transactions import begin_writes_immediately

    begin_writes_immediately()
    prefect = with_template(create_prefect())
    return SameOriginMiddleware(prefect, os.environ[HOSTS].split(","), os.environ[ORIGINS].split(","))
