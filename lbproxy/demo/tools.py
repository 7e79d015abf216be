"""Tools to try a proxy with: headers shown, echo, streams, a switchable status."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from lbproxy.demo import pages
from lbproxy.demo.oidc import SESSION_COOKIE
from lbproxy.demo.relying import wants_json
from lbproxy.demo.sessions import Sessions

MAX_SECONDS = 300.0
MAX_TICKS = 10_000
_CODES = {"ok": 200, "fail": 500}
# A request that came through a proxy carries one of these: the switch is for the node's own port.
_PROXIED = ("X-Forwarded-For", "Forwarded", "Via", "X-Forwarded-Host")


def _number(request: web.Request, name: str, default: float, most: float) -> float:
    try:
        value = float(request.query.get(name, default))
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise web.HTTPBadRequest(text=f"{name}: a number from 0 to {most:g}\n")
    return value


@dataclass(slots=True)
class Tools:
    """Handlers beside the identity provider. `status`: the answer of GET /api/status."""

    name: str
    route: str
    sessions: Sessions
    status: int = 200

    def routes(self) -> list[web.RouteDef]:
        """Return the endpoints for an aiohttp application."""
        return [
            web.get("/api/status", self.get_status),
            web.post("/api/status/{what}", self.set_status),
            web.get("/whoami", self.whoami),
            web.get("/style.css", self.style),
            web.get("/stream", self.stream),
            web.get("/slow", self.slow),
            web.route("*", "/echo", self.echo),
            web.get("/ws", self.websocket),
        ]

    async def get_status(self, request: web.Request) -> web.Response:
        """Answer the health probe."""
        return web.json_response({"node": self.name, "status": self.status}, status=self.status)

    async def set_status(self, request: web.Request) -> web.Response:
        """Switch the status: ok, fail, or a code such as 460."""
        if any(name in request.headers for name in _PROXIED):
            raise web.HTTPForbidden(text="only on the node's own port, not through a proxy\n")
        what = request.match_info["what"]
        code = _CODES.get(what) or (int(what) if re.fullmatch("[2-5][0-9][0-9]", what) else None)
        if code is None:
            raise web.HTTPBadRequest(text="ok, fail, or a code from 200 to 599\n")
        self.status = code
        return web.json_response({"node": self.name, "status": self.status})

    async def whoami(self, request: web.Request) -> web.Response:
        """Show which node answers, whether the session lives here, and the fields received."""
        session = self.sessions.find(request.cookies.get(SESSION_COOKIE))
        user = session.user if session is not None else None
        fields = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers
        ]
        if wants_json(request):
            answer = {
                "node": self.name,
                "route": self.route,
                "session_here": session is not None,
                "user": user,
                "method": request.method,
                "target": request.raw_path,
                "headers": fields,
            }
            return web.json_response(answer, headers={"Cache-Control": "no-store"})
        if session is None:
            owner = "not here"
        else:
            owner = f"here, logged in as {user}" if user else "here, not logged in"
        facts = [("Node", self.name), ("Route", self.route), ("Session", owner)]
        facts.append(("Request", f"{request.method} {request.raw_path}"))
        body = pages.table(facts, "This node") + pages.table(fields, "Header fields, in order")
        return pages.page(self.name, f"You reached {self.name}", body)

    async def style(self, request: web.Request) -> web.Response:
        """Answer the pages' style sheet."""
        return web.Response(text=pages.STYLE, content_type="text/css")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send server-sent events: `ticks` of them, `interval` seconds apart."""
        ticks = int(_number(request, "ticks", 10, MAX_TICKS))
        interval = _number(request, "interval", 1, MAX_SECONDS)
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        for tick in range(ticks):
            await response.write(f"id: {tick}\ndata: tick {tick} of {self.name}\n\n".encode())
            await asyncio.sleep(interval)
        await response.write_eof()
        return response

    async def slow(self, request: web.Request) -> web.Response:
        """Answer after `seconds`."""
        seconds = _number(request, "seconds", 1, MAX_SECONDS)
        await asyncio.sleep(seconds)
        return web.json_response({"node": self.name, "seconds": seconds})

    async def echo(self, request: web.Request) -> web.StreamResponse:
        """Send the body back as it comes, as octets, so that no browser runs it."""
        response = web.StreamResponse(
            headers={"Content-Type": "application/octet-stream", "X-Node": self.name}
        )
        response.content_length = request.content_length
        await response.prepare(request)
        async for chunk in request.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Send every text and binary message back."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket
