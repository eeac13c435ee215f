"""How the MCP server is reached: over standard input and output, or over HTTP with a bearer token."""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["listen", "serve_http", "serve_stdio"]


async def serve_stdio(server: MCPServer[Any], stopped: asyncio.Future[Any]) -> bool:
    """Serve one program over standard input and output, until it closes them; return whether it did.

    Where ``stopped`` ended it, the task continues: its thread that reads standard input can't be stopped.
    """
    serving = asyncio.ensure_future(server.run_stdio_async())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
    return serving.done()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


async def serve_http(
    server: MCPServer[Any], listener: socket.socket, host: str, token: str, stopped: asyncio.Future[Any]
) -> None:
    """Serve any number of programs that know the token at ``/mcp``, until ``stopped``."""
    # for a loopback host, the SDK also refuses requests of web pages, by their Host and Origin
    app = _BearerOnly(server.streamable_http_app(host=host), token)
    web = _Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3))
    serving = asyncio.ensure_future(web.serve(sockets=[listener]))
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    web.should_exit = True
    await serving


class _Server(uvicorn.Server):
    """Leaves signals to the command, which has more to close than a web server."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _BearerOnly:
    """Passes on the requests that carry the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_authorized(scope):
            await self._app(scope, receive, send)
            return
        refusal = PlainTextResponse(
            "a bearer token is required\n", status_code=401, headers={"WWW-Authenticate": "Bearer"}
        )
        await refusal(scope, receive, send)

    def _is_authorized(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)
