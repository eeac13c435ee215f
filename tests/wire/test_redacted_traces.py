"""aiohttp's tracing, as Sentry and OpenTelemetry attach to it: with `redact_traces` it names no user.

`nox -s instrumentation` tries the same with these two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fullstory_async import FullStoryClient, FullStoryError, RetryPolicy, ServerError
from fullstory_async.sandbox import Fault, Sandbox
from tests.wire.proxies import bundle, proxy_server, server_context
from tests.wire.servers import client_of, connected, http, raw_server
from tests.wire.test_transport import answering

TRACE = "00-1-2-01"


def recording(seen: list[str]) -> aiohttp.TraceConfig:
    """Record all that aiohttp's tracing shows of requests, and add a trace's context to them."""
    config = aiohttp.TraceConfig()

    async def record(_: object, __: object, params: Any) -> None:
        seen.append(str(params.url))
        if isinstance(params, aiohttp.TraceRequestStartParams):
            params.headers["traceparent"] = TRACE
        if isinstance(params, aiohttp.TraceRequestEndParams):
            response = params.response
            info = response.request_info
            seen.extend(map(str, (response.url, response.real_url, info.url, info.real_url, repr(info))))
        if isinstance(params, aiohttp.TraceRequestExceptionParams):
            seen.append(repr(params.exception))

    for signal in (config.on_request_start, config.on_request_end, config.on_request_exception):
        signal.append(record)
    return config


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what an instrumentation sees that patches every session, as those of others do."""
    found, init = list[str](), aiohttp.ClientSession.__init__

    def instrumented(self: aiohttp.ClientSession, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, trace_configs=[recording(found)], **options)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", instrumented)
    return found


async def list_twice(client: FullStoryClient) -> None:
    await client.sessions.list(email="ada@example.com", limit=1)
    await client.sessions.list(uid="u-1", limit=1)


@pytest.mark.parametrize("redacts", [True, False])
async def test_lists_are_traced_without_the_user(redacts: bool, seen: list[str]) -> None:
    sandbox = Sandbox(users=1, sessions=2, mean_events=2)
    async with connected(sandbox, redact_traces=redacts, retry=RetryPolicy(attempts=1)) as client:
        await list_twice(client)
        await client.sessions.events(sandbox.session_ids[0])
        sandbox.inject(Fault.status(503), times=None)
        with pytest.raises(ServerError):
            await client.sessions.list(email="bob@example.com")
    assert {each.headers["traceparent"] for each in sandbox.requests} == {TRACE}
    assert [each.query.get("email") for each in sandbox.requests if each.operation == "list"] == [
        "ada@example.com", None, "bob@example.com"
    ]  # fmt: skip
    shown = " ".join(seen)
    assert [word in shown for word in ("ada", "u-1", "bob", "?")] == [not redacts] * 4
    assert {"/events" in each for each in seen} == {True, False}
    assert len(seen) == 7 * len(sandbox.requests)  # the start, and six of the end


async def test_also_in_a_given_session_after_a_failure_and_through_proxies(
    tmp_path: Path, seen: list[str]
) -> None:
    async with raw_server(answering(b"", close=True)) as broken, aiohttp.ClientSession() as session:
        for url in (broken.url, "http://127.0.0.1:1"):
            async with client_of(url, session=session, redact_traces=True) as client:
                with pytest.raises(FullStoryError):
                    await list_twice(client)
    answer = answering(http(b'{"sessions":[]}'))
    async with (
        raw_server(answer, tls=server_context()) as tls,
        raw_server(answer) as plain,
        proxy_server() as proxy,
    ):
        for url in (tls.url, plain.url):
            async with client_of(url, redact_traces=True, ssl=bundle(tmp_path), proxy=proxy.url) as client:
                await list_twice(client)
    for server in (broken, tls, plain):
        assert b"?email=ada@example.com&limit=1" in server.requests[0]
    assert seen
    assert not [each for each in seen if "ada" in each or "?" in each]
