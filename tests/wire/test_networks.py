"""Networks as companies have them: private authorities, client certificates, proxies that want a login or refuse."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from socket import SHUT_RDWR, create_server
from typing import Any, cast

import aiohttp
import pytest
import trustme
from aiohttp.client_reqrep import ConnectionKey

from fullstory_async import (
    APITimeoutError,
    AuthenticationError,
    ConnectError,
    FullStoryClient,
    FullStoryError,
    PermissionDeniedError,
    ProtocolError,
    ProxyError,
    RetryPolicy,
)
from fullstory_async.http.transport.tls_errors import describe_tls_failure
from fullstory_async.jobs import Job, JobPlan, JobReport
from tests.limits import until
from tests.wire.proxies import AUTHORITY, bundle, certificate, proxy_server, server_context
from tests.wire.servers import KEY, Connection, RawServer, client_of, http, raw_server
from tests.wire.test_transport import answering, hang, reset

AGAIN = RetryPolicy(attempts=3, wait_initial=0.01, wait_jitter=0, repeat_metered=True)
LOGIN = "ada:a secret/word"
CERTIFICATE_PAGE = http(
    b"<html><head><title>400 No required SSL certificate was sent</title></head></html>", "400 Bad Request", Content_Type="text/html"
)  # fmt: skip


@asynccontextmanager
async def api(**options: Any) -> AsyncIterator[RawServer]:
    """Serve an empty session by TLS, with a certificate of the company's authority."""
    async with raw_server(answering(http()), tls=server_context(**options)) as server:
        yield server


async def refused(client: FullStoryClient) -> ConnectError:
    """Return the error of a paid call that must not leave, be charged or be made again."""
    with pytest.raises(ConnectError) as caught:
        await client.sessions.events("1:2")
    error = caught.value
    assert (error.sent, error.permanent, error.may_have_cost, error.attempts) == (False, True, False, 1)
    assert client.stats.activations_at_risk == 0
    return error


async def test_a_private_authority_is_trusted_by_path_or_context(tmp_path: Path) -> None:
    path = bundle(tmp_path)
    context = ssl.create_default_context(cafile=str(path))
    async with api() as server:
        for trusted in (path, str(path), context):
            async with client_of(server.url, ssl=trusted) as client:
                assert len(await client.sessions.events("1:2")) == 0
        async with (
            aiohttp.ClientSession() as session,
            client_of(server.url, session=session, ssl=path) as client,
        ):
            await client.sessions.events("1:2")
    assert len(server.requests) == 4


@pytest.mark.row(80)
async def test_row_80_an_unknown_authority_says_what_to_do(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    async with api() as server:
        settings: dict[str, Any]
        for settings in ({"retry": AGAIN}, {"retry": AGAIN, "ssl": tmp_path / "other.pem"}):
            async with client_of(server.url, **settings) as client:
                error = await refused(client)
        port = server.url.rpartition(":")[2]
        assert f"certificate of 127.0.0.1:{port} can't be trusted: " in error.message
        assert "ClientConfig(ssl=…), --ca-file, or SSL_CERT_FILE" in error.message
        async with proxy_server(tls=server_context()) as proxy:  # one whose own certificate is unknown
            async with client_of("https://api.test", proxy=proxy.url) as client:
                assert (
                    f"certificate of 127.0.0.1:{proxy.url.rpartition(':')[2]}"
                    in (await refused(client)).message
                )
    assert server.requests == []


async def test_a_bundle_does_not_excuse_another_hosts_certificate(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("other.test").configure_cert(context)
    async with raw_server(answering(http()), tls=context) as server:
        async with client_of(server.url, ssl=bundle(tmp_path)) as client:
            error = await refused(client)
    assert "not valid for '127.0.0.1'" in error.message
    assert "--ca-file" not in error.message  # a bundle would not help


@pytest.mark.parametrize("tls12", [True, False])
async def test_a_client_certificate_is_shown(tmp_path: Path, *, tls12: bool) -> None:
    ca, (certificate_file, key_file) = bundle(tmp_path), certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(certificate_file.read_bytes() + key_file.read_bytes())
    async with api(client_certificates=True, tls12=tls12) as server:
        for client_cert in ((certificate_file, key_file), str(both)):
            async with client_of(server.url, ssl=ca, client_cert=client_cert) as client:
                await client.sessions.events("1:2")
    assert len(server.requests) == 2


@contextmanager
def demanding(*, tls12: bool = False, resets: bool = False) -> Iterator[str]:
    """Run a server that demands a client certificate and says so by a TLS alert, as those with OpenSSL do.

    asyncio's own TLS server loses the alert. This one reads until the client has closed the connection, or
    ``resets`` it: that is what the kernel does for data that nobody reads, and it may overtake the alert.
    """
    context = server_context(client_certificates=True, tls12=tls12)
    listening = create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                with suppress(OSError):
                    context.wrap_socket(connection.dup(), server_side=True).close()
                with suppress(OSError):
                    while not resets and connection.recv(65536):
                        pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(SHUT_RDWR)
        listening.close()
        thread.join()


@pytest.mark.row(81)
@pytest.mark.parametrize("tls12", [True, False])
async def test_row_81_a_server_that_demands_a_client_certificate_is_named(
    tmp_path: Path, *, tls12: bool
) -> None:
    ca, others = bundle(tmp_path), certificate(tmp_path, trustme.CA())
    with demanding(tls12=tls12) as url:
        async with client_of(url, ssl=ca, retry=AGAIN) as client:
            error = await refused(client)
        assert "the server requires a client certificate: give one as client_cert" in error.message
        async with client_of(url, ssl=ca, client_cert=others, retry=AGAIN) as client:
            error = await refused(client)
        assert "does not accept the client certificate (unknown ca): check client_cert" in error.message


@pytest.mark.row(81)
async def test_row_81_an_alert_that_a_reset_overtakes_is_found(tmp_path: Path) -> None:
    """In whichever order they arrive, and also where only a connection without a request shows the reason."""
    with demanding(resets=True) as url:
        async with client_of(url, ssl=bundle(tmp_path), retry=AGAIN) as client:
            for _ in range(5):
                error = await refused(client)
                assert "the server requires a client certificate" in error.message


@pytest.mark.row(81)
async def test_row_81_a_server_that_gives_no_reason_may_want_one(tmp_path: Path) -> None:
    """What it does with a request is not known then: a paid call stays at risk."""
    async with api(client_certificates=True) as server, client_of(server.url, ssl=bundle(tmp_path)) as client:
        with pytest.raises(
            ProtocolError, match=r"it may require a client certificate \(client_cert\)"
        ) as caught:
            await client.sessions.events("1:2")
    assert caught.value.may_have_cost
    async with (
        raw_server(reset, tls=server_context()) as server,
        client_of(server.url, ssl=bundle(tmp_path)) as client,
    ):
        with pytest.raises(ProtocolError) as caught:
            await client.sessions.events("1:2")
    assert "certificate" not in caught.value.message  # it waits for a request


@pytest.mark.row(81)
async def test_row_81_a_handshake_that_ends_without_a_reason(tmp_path: Path) -> None:
    """With TLS 1.2, before anything is sent; such an error has no number, which read "[None]"."""
    async with api(client_certificates=True, tls12=True) as server:
        async with client_of(server.url, ssl=bundle(tmp_path)) as client:
            with pytest.raises(ConnectError, match=r"no reason given; .* client certificate") as caught:
                await client.sessions.events("1:2")
    assert not caught.value.may_have_cost
    for said in ("Multiple exceptions: [Errno 111], [Errno 101]", ""):
        key = cast("Any", ConnectionKey("api.test", 443, True, True, None, None, None))
        text = describe_tls_failure(aiohttp.ClientConnectorError(key, OSError(*[said][: len(said)])))
        assert "None" not in text
        assert f"api.test:443: {said}" in text


@pytest.mark.row(81)
async def test_row_81_a_page_that_demands_one_is_no_fault_of_a_session(tmp_path: Path) -> None:
    async with raw_server(answering(CERTIFICATE_PAGE)) as server:
        async with client_of(server.url, retry=AGAIN) as client:
            error = await refused(client)
            assert "requires a client certificate" in error.message
            failed, ended = await fan_out(client)
            assert (failed <= 5, type(ended)) == (True, ConnectError)
            report = await run_job(tmp_path / "job", client)
    assert (report.reason, report.at_risk, report.left) == ("network down", 0, 40)
    assert report.failed == {}


async def test_tls_where_there_is_none_and_the_other_way_round() -> None:
    async def speak_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(http(b"", "400 Bad Request"))
        writer.close()

    async with await asyncio.start_server(speak_plainly, "127.0.0.1", 0) as plain:
        port = plain.sockets[0].getsockname()[1]
        for url, proxy in (
            (f"https://127.0.0.1:{port}", None),
            ("https://api.test", f"https://127.0.0.1:{port}"),
        ):
            async with client_of(url, proxy=proxy, retry=AGAIN) as client:
                error = await refused(client)
            assert "the server there does not speak TLS (is its URL an http:// one?)" in error.message
    page = (
        b"<html><h1>400 Bad Request</h1><center>The plain HTTP request was sent to HTTPS port</center></html>"
    )
    async with (
        raw_server(answering(http(page, "400 Bad Request"))) as server,
        client_of(server.url) as client,
    ):
        error = await refused(client)
    assert "the base URL has to begin with https://" in error.message


async def fan_out(client: FullStoryClient) -> tuple[int, FullStoryError | None]:
    """Return the number of failed calls of a fan-out, and what ended it."""
    failed = 0
    try:
        async with client.sessions.events_many([f"1:{n}" for n in range(400)], concurrency=50) as outcomes:
            async for outcome in outcomes:
                failed += outcome.error is not None
    except FullStoryError as error:
        return failed, error
    return failed, None


async def run_job(folder: Path, client: FullStoryClient) -> JobReport:
    async with Job.open(folder, client=client, plan=JobPlan(events=True)) as job:
        await job.add([f"1:{n}" for n in range(40)])
        return await job.run()


ROUTES = {"CONNECT": "https://api.test", "plain http": "http://api.test"}
REFUSALS = {
    "401": http(b"", "401 Unauthorized", Proxy_Authenticate="Negotiate"),
    "401 as the service's": http(b"Unauthorized", "401 Unauthorized"),
    "403": http(b"<html>Filtered by the company</html>", "403 Filtered", Content_Type="text/html"),
    "403 as JSON": http(b'{"error":"denied by policy"}', "403 Forbidden"),
    "407": http(b"", "407 Proxy Authentication Required", Proxy_Authenticate='Basic realm="x"'),
    "407 with a page": http(b"<html>Sign in</html>", "407 Denied", Content_Type="text/html"),
}


@pytest.mark.row(82)
@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("route", ROUTES)
async def test_row_82_a_proxy_that_refuses_is_asked_once(route: str, refusal: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"allow_http": True, "retry": AGAIN, "proxy_auth": tuple(LOGIN.split(":"))}
    async with proxy_server(refusal=REFUSALS[refusal]) as proxy:
        async with client_of(ROUTES[route], proxy=proxy.url, **settings) as client:
            error = await refused(client)
            assert (type(error), error.status) == (ProxyError, int(refusal[:3]))
            assert proxy.asked == 1
        async with client_of(ROUTES[route], proxy=proxy.url, **settings) as client:
            with pytest.raises(ProxyError):
                await client.whoami()  # free, and not made again either
            assert proxy.asked == 2
        async with client_of(ROUTES[route], proxy=proxy.url, **settings) as client:
            failed, ended = await fan_out(client)
            assert type(ended) is ProxyError
            assert failed <= 5
            assert proxy.asked - 2 == 1
        before = proxy.asked
        async with client_of(ROUTES[route], proxy=proxy.url, **settings) as client:
            report = await run_job(tmp_path / "job", client)
            assert (report.reason, report.at_risk, report.failed, report.left) == ("not_fullstory", 0, {}, 40)
            assert proxy.asked == before + 1
    assert "ProxyError" in report.detail or "the proxy refused" in report.detail


@pytest.mark.row(82)
async def test_row_82_refusals_of_the_service_behind_a_proxy_are_the_services() -> None:
    for status, kind in (("401 Unauthorized", AuthenticationError), ("403 Forbidden", PermissionDeniedError)):
        said = http(b'{"code":"x","message":"no"}', status)
        async with raw_server(answering(said)) as server, proxy_server(target=server.url) as proxy:
            async with client_of("http://api.test", allow_http=True, proxy=proxy.url) as client:
                with pytest.raises(kind):
                    await client.sessions.events("1:2")


@pytest.mark.row(82)
@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Unavailable", "429 Slow Down"])
async def test_row_82_a_proxy_that_can_not_connect_now_is_asked_again(status: str) -> None:
    async with proxy_server(refusal=http(b"", status)) as proxy:
        async with client_of("https://api.test", proxy=proxy.url, retry=AGAIN) as client:
            with pytest.raises(ConnectError, match="the proxy could not connect") as caught:
                await client.sessions.events("1:2")
    assert (caught.value.may_have_cost, caught.value.permanent, proxy.asked) == (False, False, 3)


async def test_a_proxy_that_is_not_there_is_named() -> None:
    async with client_of(
        "https://api.test", proxy="http://127.0.0.1:1", ssl=ssl.create_default_context()
    ) as client:
        with pytest.raises(ConnectError, match=r"no connection to the proxy: .*127\.0\.0\.1:1 \[") as caught:
            await client.sessions.events("1:2")
    assert not caught.value.permanent


@pytest.mark.row(83)
@pytest.mark.parametrize("tls", [None, "to the proxy too"])
@pytest.mark.parametrize("how", ["proxy_auth", "in the URL"])
async def test_row_83_a_proxy_gets_its_login_and_never_the_key(
    how: str, tls: str | None, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"ssl": bundle(tmp_path), "proxy_auth": tuple(LOGIN.split(":"))}
    async with api() as server, proxy_server(LOGIN, tls=server_context() if tls else None) as proxy:
        url = proxy.url
        if how == "in the URL":
            url = url.replace("//", "//ada:a%20secret%2Fword@")
            del settings["proxy_auth"]
        async with client_of(server.url, proxy=url, **settings) as client:
            await asyncio.gather(*(client.sessions.events(f"1:{n}") for n in range(20)))
            for _ in range(3):
                await client.sessions.events("1:2")
    assert (len(server.requests), proxy.logins) == (23, [])
    assert 1 <= len(proxy.passed) <= 20  # connections are used again
    assert not any(b"roxy-" in head for head in server.requests)


@pytest.mark.row(83)
async def test_row_83_a_given_sessions_proxy_gets_no_key_either(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(answering(http(b"", "403 Forbidden"))) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        for options in ({"proxy": proxy.url}, {"trust_env": True}):
            async with aiohttp.ClientSession(**cast("Any", options)) as session:
                async with client_of("https://api.test", session=session) as client:
                    with pytest.raises(FullStoryError):
                        await client.sessions.events("1:2")
    assert [head.split(b" ")[0] for head in proxy.requests] == [b"CONNECT", b"CONNECT"]
    assert not any(KEY.encode() in head or b"uthorization" in head for head in proxy.requests)


@pytest.mark.row(83)
async def test_row_83_a_tunnel_is_asked_for_without_the_key() -> None:
    async with raw_server(answering(http(b"", "403 Forbidden"))) as proxy:
        for settings in ({}, {"proxy_auth": ("ada", "secret")}):
            async with client_of("https://api.test", proxy=proxy.url, **cast("Any", settings)) as client:
                await refused(client)
    assert [head.split(b" ")[0] for head in proxy.requests] == [b"CONNECT", b"CONNECT"]
    assert [b"Authorization" in head for head in proxy.requests] == [False, True]
    assert not any(KEY.encode() in head for head in proxy.requests)


@pytest.mark.row(84)
@pytest.mark.parametrize("route", ROUTES)
async def test_row_84_a_wrong_password_is_one_login(route: str) -> None:
    async with proxy_server(LOGIN) as proxy:
        settings: dict[str, Any] = {"allow_http": True, "proxy": proxy.url, "proxy_auth": ("ada", "wrong")}
        async with client_of(ROUTES[route], **settings) as client:
            calls = [client.sessions.events("1:2") for _ in range(30)]
            failures = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(error) for error in failures} == {ProxyError}
            failed, ended = await fan_out(client)
            assert (failed, type(ended)) == (1, ProxyError)
            error = await refused(client)
            assert "the proxy refused: 407" in error.message
            assert "not asked again for 60 s" in error.message
    assert proxy.logins == ["ada:wrong"]


@pytest.mark.row(84)
@pytest.mark.parametrize("route", ROUTES)
async def test_row_84_the_proxy_of_a_given_session_is_asked_once_too(
    route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the session names it, or takes it from the environment."""
    for source in ("session", "environment"):
        async with proxy_server(LOGIN) as proxy:
            url = proxy.url.replace("//", "//ada:wrong@")
            monkeypatch.setenv("HTTPS_PROXY" if "https" in ROUTES[route] else "HTTP_PROXY", url)
            settings: dict[str, Any] = {"proxy": url} if source == "session" else {"trust_env": True}
            async with (
                aiohttp.ClientSession(**settings) as session,
                client_of(ROUTES[route], session=session, allow_http=True) as client,
            ):
                calls = [client.sessions.events("1:2") for _ in range(30)]
                failures = await asyncio.gather(*calls, return_exceptions=True)
                assert {type(error) for error in failures} == {ProxyError}
                assert "not asked again for 60 s" in (await refused(client)).message
        assert proxy.logins == ["ada:wrong"]


@pytest.mark.row(82)
async def test_row_82_a_given_sessions_proxy_that_refuses_is_not_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with proxy_server(refusal=REFUSALS["401"]) as proxy:
        async with (
            aiohttp.ClientSession(proxy=proxy.url) as session,
            client_of(ROUTES["plain http"], session=session, allow_http=True) as client,
        ):
            assert isinstance(await refused(client), ProxyError)
    # a session that reads the environment, and an address that needs no proxy
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with raw_server(answering(http(b"{}", "401 Unauthorized"))) as server:
        async with (
            aiohttp.ClientSession(trust_env=True) as session,
            client_of(server.url, session=session) as client,
        ):
            with pytest.raises(AuthenticationError):
                await client.whoami()


@pytest.mark.row(84)
async def test_row_84_the_first_login_may_fail_otherwise_or_be_cancelled(tmp_path: Path) -> None:
    """Then the next call tries it: nobody waits for a call that is over."""
    async with api() as server:
        login: dict[str, Any] = {"proxy_auth": tuple(LOGIN.split(":")), "ssl": bundle(tmp_path)}
        async with raw_server(hang) as silent, client_of(server.url, proxy=silent.url, **login) as client:
            first = asyncio.ensure_future(client.sessions.events("1:2"))
            await until(lambda: len(silent.requests) == 1)
            others = [asyncio.ensure_future(client.sessions.events(f"2:{n}", timeout=0.1)) for n in range(3)]
            for error in await asyncio.gather(*others, return_exceptions=True):
                assert isinstance(error, APITimeoutError)
                assert (error.sent, error.may_have_cost) == (False, False)
                assert "waited for the proxy to accept another" in error.message
            assert len(silent.requests) == 1
            next_one = asyncio.ensure_future(client.sessions.events("1:3"))
            first.cancel()
            await until(lambda: len(silent.requests) == 2)
            next_one.cancel()
            await asyncio.gather(first, next_one, return_exceptions=True)
        async with raw_server(reset) as broken, client_of(server.url, proxy=broken.url, **login) as client:
            with pytest.raises(ConnectError):
                await client.sessions.events("1:2")
            with pytest.raises(ConnectError):
                await client.sessions.events("1:2")
            assert len(broken.requests) == 2


async def test_a_tunnel_that_stands_lets_the_others_go_before_its_response(tmp_path: Path) -> None:
    """A summary takes minutes; the login has been accepted long before."""

    async def handler(connection: Connection) -> None:
        if connection.number == 1:
            await arrived.wait()
        else:
            arrived.set()
        await connection.send(http())

    arrived = asyncio.Event()
    async with raw_server(handler, tls=server_context()) as server, proxy_server(LOGIN) as proxy:
        settings: dict[str, Any] = {"proxy_auth": tuple(LOGIN.split(":")), "ssl": bundle(tmp_path)}
        async with client_of(server.url, proxy=proxy.url, **settings) as client:
            await asyncio.gather(*(client.sessions.events(f"1:{n}") for n in range(2)))
    assert len(server.requests) == 2


@pytest.mark.row(85)
async def test_row_85_the_environment_is_used_if_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api() as server, proxy_server(LOGIN, target=server.url) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//ada:a%20secret%2Fword@") + "\r\n")
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle(tmp_path)))
        monkeypatch.setenv("NO_PROXY", "other.test")
        async with client_of("https://api.test", trust_env=True) as client:
            await client.sessions.events("1:2")
        assert proxy.passed == ["CONNECT api.test:443 HTTP/1.1"]
        monkeypatch.setenv("NO_PROXY", ".test")
        assert client_of("https://api.test", trust_env=True).config.network.proxy is None
        assert client_of("https://api.test").config.network.proxy is None
        async with client_of(server.url, trust_env=True) as client:  # this machine is never behind a proxy
            await client.sessions.events("1:2")
    assert len(server.requests) == 2
    assert len(proxy.passed) == 1
