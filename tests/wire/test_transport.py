"""The transport against raw sockets: every fault is one of our errors, and one attempt is one request."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import resource
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from fullstory_async import (
    APITimeoutError,
    ClientStateError,
    ConfigurationError,
    ConnectError,
    FullStoryError,
    ProtocolError,
    RateLimit,
    RateLimiter,
    ResponseTooLarge,
    RetryPolicy,
    ServerError,
    SessionEvents,
    SessionId,
    TransportError,
    UnexpectedRedirect,
    UnexpectedResponseError,
)
from fullstory_async.codec import decode_events
from fullstory_async.http.transport.aiohttp_errors import from_aiohttp as _translated
from fullstory_async.http.transport.response_reader import ResponseReader
from fullstory_async.messages import Request, Response
from tests.limits import SECONDS
from tests.virtual_time import now
from tests.wire.servers import KEY, Connection, Handler, client_of, http, raw_server


def answering(*answers: bytes, close: bool = False) -> Handler:
    async def handler(connection: Connection) -> None:
        await connection.send(answers[min(connection.number, len(answers)) - 1])
        if close:
            connection.writer.close()

    return handler


async def test_the_request_on_the_wire() -> None:
    async with raw_server(answering(http(b'{"summary":"x"}'))) as server:
        async with client_of(server.url, integration_source="partner") as client:
            await client.sessions.summary(
                "1:2",
                config_profile_id="a b&c",
                extra_headers={"X-Trace": "7"},
                extra_query={"end_timestamp": "2026-05-04T10:00:00Z"},
            )
    (head,) = server.requests
    line, *headers = head.decode().split("\r\n")
    assert line.startswith(
        "GET /v2/sessions/1%3A2/summary?config_profile_id=a+b%26c&config_profile=a+b%26c&end_timestamp="
    )
    named = {name.lower(): value for name, _, value in (h.partition(": ") for h in headers)}
    assert named["authorization"] == f"Basic {KEY}"
    assert named["accept"] == "application/json"
    assert named["user-agent"].startswith("fullstory_async/")
    assert named["integration-source"] == "partner"
    assert named["x-trace"] == "7"
    assert "gzip" in named["accept-encoding"]
    assert "cookie" not in named


async def test_odd_ids_and_a_path_in_the_base_url_arrive_as_they_are() -> None:
    async with raw_server(answering(http(b'{"events":[],"sessions":[]}'))) as server:
        async with client_of(server.url + "/gateway/") as client:
            for session_id in ("a%41", "a?b#c", "a+c", "ü"):
                await client.sessions.events(session_id)
            page = await client.sessions.list(email="ada+1@example.com", uid="a/b?c")
    paths = [head.split(b" ")[1] for head in server.requests]
    assert paths[:4] == [
        b"/gateway/v2/sessions/a%2541/events", b"/gateway/v2/sessions/a%3Fb%23c/events",
        b"/gateway/v2/sessions/a%2Bc/events", b"/gateway/v2/sessions/%C3%BC/events",
    ]  # fmt: skip
    assert paths[4].startswith(b"/gateway/sessions/v2?email=ada%2B1@example.com&uid=a/b?c&limit=20")
    assert len(page) == 0


async def reset(connection: Connection) -> None:
    connection.reset()


async def hang(connection: Connection) -> None:
    await asyncio.sleep(30)


async def drip(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        await connection.send(b" ")
        await asyncio.sleep(0.05)


def stalling(start: bytes) -> Handler:
    async def handler(connection: Connection) -> None:
        await connection.send(start)
        await asyncio.sleep(30)

    return handler


FAULTS: dict[str, tuple[Handler, type[FullStoryError]]] = {
    "reset": (reset, ProtocolError),
    "closed": (answering(b"", close=True), ProtocolError),
    "half a head": (answering(b"HTTP/1.1 200 O", close=True), ProtocolError),
    "half a body": (
        answering(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"ev', close=True),
        ProtocolError,
    ),
    "half a chunk": (
        answering(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{"ev', close=True),
        ProtocolError,
    ),
    "half a body up to the close": (
        answering(b'HTTP/1.1 200 OK\r\n\r\n{"events":[', close=True),
        ProtocolError,
    ),
    "garbage": (answering(b"SSH-2.0-OpenSSH\r\n\r\n", close=True), ProtocolError),
    "a huge header": (
        answering(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", close=True),
        ProtocolError,
    ),
    "bad gzip": (answering(http(b"not gzip", Content_Encoding="gzip")), ProtocolError),
    "silence": (hang, APITimeoutError),
    "half a head and silence": (stalling(b"HTTP/1.1 200"), APITimeoutError),
    "half a body and silence": (stalling(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), APITimeoutError),
    "a body drop by drop": (drip, APITimeoutError),
    "another host": (answering(http(b"", "302 Found", Location="http://127.0.0.2:9/")), UnexpectedRedirect),
    "not modified": (answering(http(b"", "304 Not Modified")), UnexpectedRedirect),
    "an HTML page": (
        answering(http(b"<html>Hello</html>", Content_Type="text/html")),
        UnexpectedResponseError,
    ),
    "nothing": (answering(http(b"")), UnexpectedResponseError),
    "a gateway's page": (
        answering(http(b"<html>", "502 Bad Gateway", Content_Type="text/html")),
        ServerError,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_is_one_error_and_one_request(fault: str) -> None:
    handler, error_class = FAULTS[fault]
    async with raw_server(handler) as server:
        read_timeout = 0.3 if error_class is APITimeoutError else SECONDS
        async with client_of(server.url, connect_timeout=SECONDS, read_timeout=read_timeout) as client:
            with pytest.raises(error_class) as caught:
                await client.sessions.events("1:2")
    error = caught.value
    assert type(error) is error_class
    assert len(server.requests) == 1
    is_free = error_class is UnexpectedRedirect  # whoever redirects has not done the work
    assert (error.attempts, error.session_id, error.may_have_cost) == (1, "1:2", not is_free)
    assert KEY not in str(error) + repr(vars(error))
    assert error.__context__ is None or isinstance(error.__context__, FullStoryError)
    assert error.__cause__ is None


@pytest.mark.row(11)
@pytest.mark.parametrize("operation", ["events", "list"])
async def test_a_dropped_kept_alive_connection_is_not_silently_asked_again(operation: str) -> None:
    """aiohttp re-sends a GET on its own here: two requests, and two charges, for one call."""

    async def handler(connection: Connection) -> None:
        if connection.number == 1:
            await connection.send(http(b"{}"))
        else:
            connection.reset()

    async with raw_server(handler) as server:
        async with client_of(server.url) as client:
            call = (
                client.sessions.events if operation == "events" else lambda uid: client.sessions.list(uid=uid)
            )
            await call("1:2")
            with pytest.raises(ProtocolError):
                await call("1:2")
    assert len(server.requests) == 2


@pytest.mark.row(10)
async def test_a_good_answer_that_only_the_close_ends_is_taken() -> None:
    async with raw_server(answering(b'HTTP/1.1 200 OK\r\n\r\n{"events":[]}\n', close=True)) as server:
        async with client_of(server.url) as client:
            assert len(await client.sessions.events("1:2")) == 0
    async with raw_server(answering(b"HTTP/1.1 204 No Content\r\n\r\n", close=True)) as server:
        async with client_of(server.url) as client:
            assert len(await client.sessions.events("1:2")) == 0


async def test_a_mislabelled_answer_is_taken_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with raw_server(answering(http(b'{"events":[]}', Content_Type="text/plain"))) as server:
        async with client_of(server.url) as client:
            for _ in range(3):
                assert len(await client.sessions.events("1:2")) == 0
            assert [event async for event in client.sessions.stream_events("1:2")] == []
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "a response (events) is labelled 'text/plain' instead of JSON" in said


async def test_a_redirect_target_sees_nothing() -> None:
    async with raw_server(answering(http())) as target:
        async with raw_server(answering(http(b"", "307 Temporary Redirect", Location=target.url))) as server:
            async with client_of(server.url) as client:
                with pytest.raises(UnexpectedRedirect, match="307"):
                    await client.sessions.events("1:2")
    assert target.requests == []


async def test_a_refused_connection_was_not_sent_and_cost_nothing() -> None:
    async with client_of("http://127.0.0.1:1") as client:
        with pytest.raises(ConnectError, match="127.0.0.1:1") as caught:
            await client.sessions.events("1:2")
    assert (caught.value.sent, caught.value.may_have_cost, caught.value.permanent) == (False, False, False)


async def test_a_name_that_does_not_resolve() -> None:
    async with client_of("https://nowhere.invalid", connect_timeout=5) as client:
        with pytest.raises(TransportError) as caught:
            await client.sessions.events("1:2")
    assert not caught.value.sent


async def test_tls_to_a_server_without_it_is_never_retried() -> None:
    connections = 0

    async def speak_plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak_plainly, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with client_of(f"https://127.0.0.1:{port}", retry=RetryPolicy(attempts=3)) as client:
            with pytest.raises(ConnectError) as caught:
                await client.sessions.events("1:2")
    assert caught.value.permanent
    assert connections == 1


async def test_a_body_over_the_limit_is_not_read() -> None:
    async with raw_server(answering(http(b'{"events":[' + b" " * 100_000 + b"]}"))) as server:
        async with client_of(server.url, max_response_bytes=10_000) as client:
            with pytest.raises(ResponseTooLarge, match="10000"):
                await client.sessions.events("1:2")


async def test_a_gzip_bomb_does_not_fill_the_memory() -> None:
    bomb = gzip.compress(b" " * 200_000_000)
    async with raw_server(answering(http(bomb, Content_Encoding="gzip"))) as server:
        async with client_of(server.url, max_response_bytes=5_000_000) as client:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            with pytest.raises(ResponseTooLarge):
                await client.sessions.events("1:2")
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 50


async def test_an_error_answers_body_does_not_hold_its_connection() -> None:
    big = http(b'{"message":"' + b"x" * 3_000_000 + b'"}', "503 Service Unavailable")
    async with raw_server(answering(big, http(b"{}"))) as server:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
            async with client_of(server.url, session=session) as client:
                with pytest.raises(ServerError):
                    await client.sessions.events("1:2")
                await client.sessions.events("1:2", timeout=SECONDS)
    assert len(server.requests) == 2


async def test_the_calls_own_timeout_is_kept() -> None:
    async with raw_server(hang) as server:
        async with client_of(server.url) as client:
            started = now()
            with pytest.raises(APITimeoutError) as caught:
                await client.sessions.events("1:2", timeout=0.2)
    assert 0.15 < now() - started < 2
    assert (caught.value.sent, caught.value.may_have_cost) == (True, True)


@pytest.mark.row(6)
async def test_summaries_have_a_longer_timeout() -> None:
    async def slowly(connection: Connection) -> None:
        await asyncio.sleep(0.6)
        await connection.send(http(b'{"summary":"x"}'))

    async with raw_server(slowly) as server:
        async with client_of(
            server.url, connect_timeout=0.1, read_timeout=0.1, summary_read_timeout=SECONDS
        ) as client:
            assert (await client.sessions.summary("1:2")).summary == "x"
            with pytest.raises(APITimeoutError):
                await client.sessions.events("1:2")


async def test_a_proxy_is_used() -> None:
    async with raw_server(answering(http())) as proxy:
        async with client_of("http://api.test", allow_http=True, proxy=proxy.url) as client:
            await client.sessions.events("1:2")
    assert proxy.requests[0].startswith(b"GET http://api.test/v2/sessions/1%3A2/events HTTP/1.1")


async def test_a_proxy_that_refuses_the_tunnel_was_not_asked_to_pay() -> None:
    async with raw_server(answering(http(b"", "407 Proxy Authentication Required"))) as proxy:
        async with client_of("https://api.test", proxy=proxy.url) as client:
            with pytest.raises(ConnectError, match="proxy refused: 407") as caught:
                await client.sessions.events("1:2")
    assert not caught.value.may_have_cost


async def test_a_given_session_is_used_and_left_open() -> None:
    async with (
        raw_server(answering(http())) as server,
        aiohttp.ClientSession(headers={"X-Mine": "1"}) as session,
    ):
        async with client_of(server.url, session=session) as client:
            await client.sessions.events("1:2")
        assert not session.closed
        async with client_of(server.url, session=session) as client:
            await client.sessions.events("1:2")
    assert all(b"X-Mine: 1" in head for head in server.requests)


async def test_a_given_session_that_is_closed_or_has_auth_is_refused() -> None:
    session = aiohttp.ClientSession()
    await session.close()
    async with client_of("http://127.0.0.1:1", session=session) as client:
        with pytest.raises(ClientStateError, match="given is closed"):
            await client.sessions.events("1:2")
    with pytest.warns(DeprecationWarning):
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("a", "b"))
    async with session:
        with pytest.raises(ConfigurationError, match="auth="):
            await client_of("http://127.0.0.1:1", session=session).__aenter__()


async def test_a_given_sessions_small_pool_is_waited_for_without_losing_time() -> None:
    async def slowly(connection: Connection) -> None:
        await asyncio.sleep(0.2)
        await connection.send(http())

    async with raw_server(slowly) as server:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
            async with client_of(
                server.url, session=session, connect_timeout=0.2, read_timeout=0.5
            ) as client:
                async with client.sessions.events_many([f"1:{n}" for n in range(6)]) as results:
                    assert all([o.error is None async for o in results])
                calls = (
                    client.sessions.events(f"1:{n}", timeout=seconds)
                    for n, seconds in enumerate((0.18, 0.1, 0.1))
                )
                raised = await asyncio.gather(*calls, return_exceptions=True)
    errors = [error for error in raised if isinstance(error, TransportError)]
    assert sorted(error.sent for error in errors) == [False, False, True]
    assert "a free connection" in str(next(error for error in errors if not error.sent))


async def test_calls_that_wait_for_a_given_sessions_pool_have_not_begun() -> None:
    async def slowly(connection: Connection) -> None:
        await asyncio.sleep(0.4)
        await connection.send(http())

    async with raw_server(slowly) as server:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2)) as session:
            async with client_of(server.url, session=session) as client:
                async with client.sessions.events_many(
                    [f"1:{n}" for n in range(50)], concurrency=32
                ) as results:
                    asyncio.get_running_loop().call_later(0.2, results.stop)
                    assert len([o async for o in results]) == 2
                assert (len(server.requests), client.stats.requests) == (2, 2)
                tasks = [asyncio.create_task(client.sessions.events(f"1:{n}")) for n in range(20)]
                await asyncio.sleep(0.1)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                assert client.stats.activations_at_risk == 2


async def test_the_key_replaces_credentials_that_a_given_session_adds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with raw_server(answering(http())) as server, aiohttp.ClientSession(trust_env=True) as session:
        async with client_of(server.url, session=session) as client:
            await client.sessions.events("1:2")
    [head] = server.requests
    assert [line for line in head.split(b"\r\n") if b"uthorization" in line] == [
        f"Authorization: Basic {KEY}".encode()
    ]


async def test_cookies_are_not_sent_back() -> None:
    async with raw_server(answering(http(Set_Cookie="track=me"))) as server, client_of(server.url) as client:
        for _ in range(2):
            await client.sessions.events("1:2")
    assert not [head for head in server.requests if b"track" in head]


async def test_as_many_connections_as_workers() -> None:
    together = asyncio.Barrier(120)

    async def all_at_once(connection: Connection) -> None:
        if b"/1%3A" in connection.head:
            await together.wait()
        await connection.send(http())

    async with raw_server(all_at_once) as server, client_of(server.url) as client:
        await client.sessions.events("2:1")  # before the first response only few calls are in flight
        async with client.sessions.events_many([f"1:{n}" for n in range(120)], concurrency=120) as results:
            assert all([o.error is None async for o in results])


async def silent_listener() -> tuple[socket.socket, list[socket.socket]]:
    """Return a socket that takes no more connections: its backlog is full, so that connecting hangs."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(3):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        fillers.append(filler)
    return listener, fillers


@pytest.mark.row(3)
@pytest.mark.parametrize("given", [False, True])
async def test_connecting_has_a_timeout_of_its_own_and_sends_nothing(given: bool) -> None:
    listener, fillers = await silent_listener()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with aiohttp.ClientSession() as session:
        async with client_of(
            url, connect_timeout=0.3, read_timeout=30, session=session if given else None
        ) as client:
            started = now()
            with pytest.raises(APITimeoutError) as caught:
                await client.sessions.events("1:2")
            assert 0.2 < now() - started < 3
            assert (caught.value.sent, caught.value.may_have_cost) == (False, False)
            with pytest.raises(APITimeoutError) as caught:
                await client.sessions.events("1:2", timeout=0.1)
            assert (caught.value.sent, caught.value.may_have_cost) == (False, False)
    for each in (listener, *fillers):
        each.close()


async def test_the_read_timeout_begins_when_the_request_is_sent() -> None:
    async with (
        raw_server(drip) as server,
        client_of(server.url, connect_timeout=30, read_timeout=0.4) as client,
    ):
        started = now()
        with pytest.raises(APITimeoutError, match="before the response was complete") as caught:
            await client.sessions.events("1:2")
    assert 0.3 < now() - started < 3
    assert caught.value.sent


async def test_a_tunnel_that_breaks_before_it_stands_sent_nothing() -> None:
    async with raw_server(reset) as proxy:
        async with client_of("https://api.test", proxy=proxy.url) as client:
            with pytest.raises(ConnectError) as caught:
                await client.sessions.events("1:2")
    assert not caught.value.may_have_cost


ESCAPED = KEY.replace("/", "\\/")


@pytest.mark.parametrize(
    "answer",
    [
        http(b'{"message":"bad credentials: Basic %s"}' % KEY.encode(), "403 Forbidden"),
        http(b'{"message":"bad credentials: Basic %s"}' % ESCAPED.encode(), "400 Bad Request"),
        http(b"<html>Basic %s</html>" % KEY.encode(), "502 Bad Gateway", X_Quoted=f"Basic {KEY}"),
        http(KEY.encode(), "302 Found", Location=f"https://x.test/?key={KEY}"),
        f"HTTP/1.1 2x0 {KEY}\r\n\r\n".encode(),
    ],
)
async def test_a_key_that_the_server_quotes_is_not_shown(answer: bytes) -> None:
    async with raw_server(answering(answer, close=True)) as server:
        async with client_of(server.url) as client:
            with pytest.raises(FullStoryError) as caught:
                await client.sessions.events("1:2")
    error = caught.value
    shown = (
        str(error) + repr(error.args) + repr(error.response and (error.response.headers, error.response.body))
    )
    assert KEY not in shown
    assert ESCAPED not in shown
    assert ("[the API key]" in shown) is (b"2x0" not in answer)  # of what is no HTTP nothing is quoted


async def test_an_html_page_that_only_the_close_ends_is_no_broken_connection() -> None:
    async with raw_server(answering(b"HTTP/1.1 200 OK\r\n\r\n<html>Welcome", close=True)) as server:
        async with client_of(server.url) as client:
            with pytest.raises(UnexpectedResponseError):
                await client.sessions.events("1:2")


REQUEST = Request(operation="events", path="/x", metered=True)


def _example(cls: type[aiohttp.ClientError]) -> aiohttp.ClientError:
    """Make any of aiohttp's exceptions without caring for its arguments."""
    error = cls.__new__(cls)
    for name, value in {
        "status": 502,
        "message": "m",
        "_conn_key": SimpleNamespace(host="x", port=1, is_ssl=True),
        "_certificate_error": OSError(1, "x"),
        "headers": None,
        "_os_error": OSError(1, "x"),
        "os_error": OSError(1, "x"),
    }.items():
        try:
            setattr(error, name, value)
        except AttributeError:
            continue
    error.args = ("x",)
    return error


AIOHTTP_ERRORS = [
    value
    for value in vars(aiohttp).values()
    if inspect.isclass(value) and issubclass(value, aiohttp.ClientError)
]


@pytest.mark.parametrize("cls", AIOHTTP_ERRORS)
def test_every_aiohttp_error_has_one_class_of_ours(
    cls: type[aiohttp.ClientError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cls, "__str__", lambda _: "text", raising=False)
    error = _translated(_example(cls), REQUEST, sent=True)
    before_sending = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL,
                      aiohttp.ServerFingerprintMismatch, aiohttp.NonHttpUrlClientError, aiohttp.ClientHttpProxyError)  # fmt: skip
    assert isinstance(error, TransportError)
    assert error.sent is not issubclass(cls, before_sending)
    assert error.may_have_cost is error.sent


@pytest.mark.parametrize(("closing", "connections"), [(False, 1), (True, 6)])
async def test_connections_are_used_again_and_names_looked_up_once(
    closing: bool, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, looked_up, look_up = 0, [], socket.getaddrinfo

    def counted(host: str, *args: int, **options: Any) -> list[Any]:
        looked_up.append(host)
        return look_up(host, *args, **options)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal made
        made += 1
        try:
            while not writer.is_closing():
                await reader.readuntil(b"\r\n\r\n")
                writer.write(http(Connection="close") if closing else http())
                if closing:
                    writer.close()
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(serve, "localhost", 0, family=socket.AF_INET)
    monkeypatch.setattr(socket, "getaddrinfo", counted)
    async with client_of(f"http://localhost:{server.sockets[0].getsockname()[1]}") as client:
        for _ in range(5):
            await client.sessions.events("1:2")
        assert [event async for event in client.sessions.stream_events("1:2")] == []
    server.close()
    assert made == connections
    assert looked_up.count("localhost") == 1


@pytest.mark.row(110)
async def test_row_110_no_token_is_held_once_a_request_has_left_or_failed() -> None:
    held = []

    async def respond(connection: Connection) -> None:
        held.append(limiter.level.unsent if limiter.level is not None else None)
        await connection.send(http())

    limiter = RateLimiter(RateLimit(1000, 1000))
    assert limiter.level is not None
    async with raw_server(respond) as server, client_of(server.url, limiter=limiter) as client:
        await client.sessions.events("1:2")
        await client.sessions.events("1:2")
        task = asyncio.create_task(client.sessions.events("1:3"))
        while not limiter.level.unsent and not task.done():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert limiter.level.unsent == 0
    async with client_of("http://127.0.0.1:9", limiter=limiter) as client:
        with pytest.raises(ConnectError):
            await client.sessions.events("1:2")
    assert limiter.level.unsent == 0
    assert held[:2] == [0, 0]


async def test_the_event_loop_has_a_turn_between_the_receipt_and_the_decoding_of_a_large_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fullstory_async.http.transport.session._LARGE", 0)
    turns: list[str] = []
    read, decode = ResponseReader.read, decode_events

    async def noted(*arguments: Any) -> Response:
        received = await read(*arguments)
        asyncio.get_running_loop().call_soon(turns.append, "turn")
        return received

    def decoded(response: Response, session_id: SessionId) -> SessionEvents:
        turns.append("decode")
        return decode(response, session_id)

    monkeypatch.setattr(ResponseReader, "read", noted)
    monkeypatch.setattr("fullstory_async.api.calls.decode_events", decoded)
    async with raw_server(answering(http(b'{"events":[{"event_type":"click"}]}'))) as server:
        async with client_of(server.url) as client:
            events = await client.sessions.events("1:2")
    assert [event.type for event in events] == ["click"]
    assert turns == ["turn", "decode"]
