"""A proxy and certificates in this process, for the tests of networks as companies have them."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trustme

from tests.wire.servers import http

AUTHORITY = trustme.CA()
"""The authority of a company."""
SERVER = AUTHORITY.issue_cert("127.0.0.1", "localhost", "api.test")


def server_context(*, client_certificates: bool = False, tls12: bool = False) -> ssl.SSLContext:
    """Return the context of a server with a certificate of the company's authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    SERVER.configure_cert(context)
    if tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if client_certificates:
        AUTHORITY.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def bundle(folder: Path) -> Path:
    """Write the company's CA bundle."""
    AUTHORITY.cert_pem.write_to_path(folder / "ca.pem")
    return folder / "ca.pem"


def certificate(folder: Path, authority: trustme.CA = AUTHORITY) -> tuple[Path, Path]:
    """Write a client certificate and its private key."""
    made = authority.issue_cert("program@company.test")
    made.cert_chain_pems[0].write_to_path(folder / "client.pem")
    made.private_key_pem.write_to_path(folder / "client.key")
    return folder / "client.pem", folder / "client.key"


@attrs.define
class Proxy:
    url: str
    logins: list[str] = attrs.field(factory=list)
    """The user and password of every request that was not passed on."""
    passed: list[str] = attrs.field(factory=list)
    """The request line of every request that was passed on."""

    @property
    def asked(self) -> int:
        return len(self.logins) + len(self.passed)


@asynccontextmanager
async def proxy_server(
    login: str | None = None,
    *,
    refusal: bytes | None = None,
    target: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Proxy]:
    """Pass requests and connections on.

    Args:
        login: the user and password that it wants, as ``user:password``.
        refusal: its response instead.
        target: the URL of the server that it passes everything on to, whatever the host.
        tls: its own context, for an ``https://`` proxy.
    """
    tasks: set[asyncio.Task[None]] = set()
    wanted = None if login is None else f"Basic {base64.b64encode(login.encode()).decode()}"
    wants = http(b"", "407 Proxy Authentication Required", Proxy_Authenticate='Basic realm="company"')

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            found = re.search(r"(?im)^proxy-authorization: (.*)\r$", head)
            given = found[1] if found else ""
            if refusal is not None or (wanted is not None and given != wanted):
                here.logins.append(base64.b64decode(given.removeprefix("Basic ")).decode())
                writer.write(refusal or wants)
                await writer.drain()
                return
            here.passed.append(head.split("\r\n")[0])
            await _pass_on(head, target, reader, writer)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass  # one of the two went away, or the test is over
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    scheme = "http" if tls is None else "https"
    here = Proxy(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield here
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(
    head: str, target: str | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    method, url, _ = head.split("\r\n", maxsplit=1)[0].split(" ")
    where = url.split("/")[2] if "//" in url else url
    host, _, port = (where if target is None else target.split("/")[2]).partition(":")
    there_reader, there_writer = await asyncio.open_connection(host, int(port or 80))
    if method == "CONNECT":
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    else:
        there_writer.write(re.sub(r"(?im)^proxy-authorization: .*\r\n", "", head).encode())
    both = [asyncio.create_task(_pipe(*ends)) for ends in ((reader, there_writer), (there_reader, writer))]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in both:
            each.cancel()
        there_writer.close()
        await asyncio.gather(*both, return_exceptions=True)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
