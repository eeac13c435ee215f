"""Rows 1 to 5, and 20 where TLS is in it: no connection, so nothing was sent and nothing can have cost."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import attrs
import pytest
import trustme

from fullstory_async import (
    APITimeoutError,
    ClientConfig,
    ConfigurationError,
    ConnectError,
    FullStoryClient,
    FullStoryError,
    TransportError,
    UnexpectedRedirect,
)
from fullstory_async.sandbox import Sandbox
from tests.faults.calls import QUICK, error_of
from tests.virtual_time import now
from tests.wire.servers import client_of, http


async def assert_unsent(
    client: FullStoryClient, error_class: type[FullStoryError], *, attempts: int = 3, permanent: bool = False
) -> FullStoryError:
    """Hold the promise of these rows for a free and a paid call; return the last error."""
    for call in (client.sessions.list(uid="u-1")._first(), client.sessions.events("1:2")):
        error = await error_of(call)
        assert type(error) is error_class
        assert isinstance(error, TransportError)
        assert (error.attempts, error.permanent) == (attempts, permanent)
        assert (error.sent, error.may_have_cost, error.status) == (False, False, None)
    assert client.stats.activations_at_risk == 0
    return error


@pytest.mark.row(1)
async def test_row_01_a_name_that_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def nowhere(host: str, *_: int, **__: Any) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)  # the resolver of this test's world
    async with client_of("https://nowhere.invalid", retry=QUICK) as client:
        started = now()
        error = await assert_unsent(client, ConnectError)
        assert now() - started < 2
    assert "nowhere.invalid" in str(error)
    assert asked == ["nowhere.invalid"] * 6


@pytest.mark.row(1)
async def test_row_01_a_resolver_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def silence(*_: int | str, **__: Any) -> None:
        over.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", silence)
    async with client_of("https://nowhere.invalid", retry=QUICK, connect_timeout=0.1) as client:
        started = now()
        await assert_unsent(client, APITimeoutError)
        assert 0.5 < now() - started < 3
        started = now()
        error = await error_of(client.sessions.events("1:2", timeout=0.15))
        assert isinstance(error, APITimeoutError)
        assert (type(error), error.sent, error.attempts) == (APITimeoutError, False, 2)
        assert 0.14 < now() - started < 1
        over.set()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.mark.row(2)
async def test_row_02_refused() -> None:
    async with client_of(f"http://127.0.0.1:{free_port()}", retry=QUICK) as client:
        error = await assert_unsent(client, ConnectError)
    assert "127.0.0.1" in str(error)
    assert "after 3 attempts" in str(error)


@pytest.mark.row(2)
async def test_row_02_a_service_that_comes_back() -> None:
    sandbox = Sandbox(users=1, sessions=1, port=free_port())
    retry = attrs.evolve(QUICK, wait_initial=0.2)
    async with client_of(f"http://127.0.0.1:{sandbox._port}", retry=retry) as client:
        assert client.config.api_key is not None
        sandbox.api_key = client.config.api_key.reveal()
        call = asyncio.create_task(client.sessions.events(sandbox.session_ids[0]))
        await asyncio.sleep(0.05)
        async with sandbox:
            assert len(await call) > 0
            assert len(sandbox.requests) == sandbox.activations == 1
        assert (client.stats.requests, client.stats.activations_at_risk) == (2, 0)


@asynccontextmanager
async def deaf() -> AsyncIterator[str]:
    """Listen, and take no connection: the backlog is full, so further ones get no answer at all, as from behind a firewall."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for filler in fillers:
            filler.close()


@pytest.mark.row(3)
async def test_row_03_nobody_answers() -> None:
    assert ClientConfig(api_key="na1.x").connect_timeout <= 5
    async with deaf() as url, client_of(url, retry=QUICK, connect_timeout=0.1, read_timeout=30) as client:
        started = now()
        error = await assert_unsent(client, APITimeoutError)
        assert 0.55 < now() - started < 3
    assert "no connection in time; nothing was sent" in str(error)


@pytest.mark.row(4)
async def test_row_04_unreachable() -> None:
    # TCP has no route to a group of hosts: the kernel refuses as it does where the network is gone, and sends nothing
    async with client_of("http://224.0.0.1:9", allow_http=True, retry=QUICK, connect_timeout=30) as client:
        started = now()
        error = await assert_unsent(client, ConnectError)
        assert now() - started < 2
    assert "unreachable" in str(error)


AUTHORITY = trustme.CA()
YESTERDAY = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
CERTIFICATES = {
    "an unknown authority": (
        trustme.CA().issue_cert("127.0.0.1"),
        "self-signed certificate|unable to get local issuer",
    ),
    "another host": (
        AUTHORITY.issue_cert("api.example.com"),
        "not valid for '127.0.0.1'|IP address mismatch",
    ),
    "expired": (AUTHORITY.issue_cert("127.0.0.1", not_after=YESTERDAY), "expired"),
    "no TLS": (None, "SSL|TLS"),
}


@attrs.define
class Listening:
    url: str
    connections: int = 0
    requests: list[bytes] = attrs.field(factory=list)


@asynccontextmanager
async def tls_server(certificate: trustme.LeafCert | None, answer: bytes) -> AsyncIterator[Listening]:
    """Answer every request with the same bytes, through TLS if there is a certificate."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here.connections += 1
        try:
            if certificate is None:  # as a server of plain HTTP that is greeted in TLS
                await reader.read(1)
            else:
                here.requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # it was no request
        finally:
            writer.close()

    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    here = Listening(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        yield here


@asynccontextmanager
async def trusting(url: str, **settings: Any) -> AsyncIterator[FullStoryClient]:
    """Make a client that trusts the authority of these tests, by a session of the caller's."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        async with client_of(url, session=session, **settings) as client:
            yield client


@pytest.mark.row(5)
@pytest.mark.parametrize("wrong", CERTIFICATES)
async def test_row_05_tls_that_can_not_be_trusted(wrong: str) -> None:
    certificate, said = CERTIFICATES[wrong]
    async with tls_server(certificate, b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        async with trusting(server.url, retry=QUICK) as client:
            error = await assert_unsent(client, ConnectError, attempts=1, permanent=True)
    assert server.requests == []
    assert client.stats.requests == 2  # one for each of the two calls
    text = str(error)
    assert re.search(said, text), text
    assert "verify" not in text.lower().replace("certificate_verify_failed", "").replace(
        "certificate verify failed", ""
    )


@pytest.mark.row(5)
async def test_row_05_tls_that_can_be_trusted() -> None:
    async with tls_server(AUTHORITY.issue_cert("127.0.0.1"), http()) as server:
        async with trusting(server.url) as client:
            assert len(await client.sessions.events("1:2")) == 0
        async with client_of(server.url, retry=QUICK) as client:  # which does not know the authority
            await assert_unsent(client, ConnectError, attempts=1, permanent=True)
    assert len(server.requests) == 1


@pytest.mark.row(20)
async def test_row_20_from_https_to_http() -> None:
    async with Sandbox(users=1, sessions=1) as plain:
        answer = http(b"", "307 Temporary Redirect", Location=f"{plain.url}/v2/sessions/1%3A2/events")
        async with tls_server(AUTHORITY.issue_cert("127.0.0.1"), answer) as server:
            async with trusting(server.url, retry=QUICK) as client:
                error = await error_of(client.sessions.list(uid="u-1")._first())
        assert (type(error), error.attempts, len(server.requests)) == (UnexpectedRedirect, 1, 1)
        assert plain.requests == []


class Elsewhere(socket.socket):
    """A connection within this machine that says it leads to another one."""

    def getpeername(self) -> Any:
        return ("192.0.2.7", 80)


def elsewhere(address: aiohttp.AddrInfoType) -> socket.socket:
    return Elsewhere(address[0], address[1], address[2])


@pytest.mark.row(111)
async def test_row_111_a_connection_of_another_client_that_may_use_it() -> None:
    """In a session that both were given, the one with ``allow_http`` leaves its connection to the other."""
    arrived = list[bytes]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(1000):
            arrived.append(head)
            writer.write(http(b"{}"))
        writer.close()

    connector = aiohttp.TCPConnector(socket_factory=elsewhere)
    async with (
        await asyncio.start_server(answer, "127.0.0.1", 0) as server,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        url = f"http://localhost:{server.sockets[0].getsockname()[1]}"
        async with client_of(url, session=session, allow_http=True) as client:
            await client.whoami()
        async with client_of(url, session=session, retry=QUICK) as client:
            assert type(await error_of(client.whoami())) is ConfigurationError
        async with client_of(url, session=session, allow_http=True) as client:
            await client.whoami()
    assert len(arrived) == 2


@pytest.mark.row(111)
@pytest.mark.parametrize("given", [False, True])
async def test_row_111_localhost_is_another_machine(given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    connector, arrived, opened = partial(aiohttp.TCPConnector, socket_factory=elsewhere), list[bytes](), 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        arrived.append(await reader.read(1000))
        writer.write(http(b"{}"))
        writer.close()

    if not given:
        monkeypatch.setattr(aiohttp, "TCPConnector", connector)
    async with (
        await asyncio.start_server(answer, "127.0.0.1", 0) as server,
        aiohttp.ClientSession(connector=connector()) as session,
    ):
        url = f"http://localhost:{server.sockets[0].getsockname()[1]}"
        use = session if given else None
        async with client_of(url, session=use, retry=QUICK) as client:
            for call in (client.whoami(), client.sessions.events("1:2")):
                error = await error_of(call)
                assert type(error) is ConfigurationError
                assert "leads to 192.0.2.7, not to this machine" in str(error)
            assert client.stats.activations_at_risk == 0
        assert (opened, set(arrived)) == (2, {b""})  # one connection for each call, and nothing written
        async with client_of(url, session=use, allow_http=True) as client:
            await client.whoami()
    assert b"Authorization: Basic" in arrived[-1]
