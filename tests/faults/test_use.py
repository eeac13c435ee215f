"""Rows 37 to 41: odd ids, cancelled calls, loops that come and go."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fullstory_async import (
    APITimeoutError,
    ClientStateError,
    InvalidSessionId,
    ProtocolError,
    RateLimit,
    RateLimiter,
    RetryPolicy,
    SessionId,
)
from fullstory_async.sandbox import Fault, Sandbox
from fullstory_async.testing import FakeTransport, Scripted, json_response
from tests.fakes import make_pipeline
from tests.faults.calls import EVERYTHING, ask, spoiled
from tests.limits import SECONDS
from tests.virtual.test_pipeline import EVENTS, LIST, OK
from tests.virtual_time import now
from tests.wire.servers import Connection, client_of, connected, http, raw_server

NASTY = [
    "1:2", "1%3A2", "a b+c", "ü", "a?b#c", "a%41", "a&b=c;d", "a:b@c", "%", "%zz", "a%2Fb", "a/b", "a\\b", ".", "..", "%2e%2e", "",
    " ", "\r\n", "a\r\nX-Evil: 1", "a%0d%0aX-Evil:%201", "a\x00b", "\x7f", "\ud800", "\ufeff1:2", "x" * 512, "x" * 513, "x" * 10_000,
    "../profiles", "1:2/../3:4", "/v2/visit_profile", "http://elsewhere.test/", "https://elsewhere.test/session/1:2", "🎭", "\u202e", "..;/", "a..",
]  # fmt: skip


@pytest.mark.row(37)
@settings(max_examples=60 if EVERYTHING else 6)
@given(st.lists(st.text(max_size=40), min_size=60, max_size=60))
@example(NASTY)
def test_row_37_any_id_is_one_request_for_it_or_none(texts: list[str]) -> None:
    asyncio.run(_each_is_one_request_or_none(texts))


async def _each_is_one_request_or_none(texts: list[str]) -> None:
    async def answer(connection: Connection) -> None:
        await connection.send(http())

    async with raw_server(answer) as server, client_of(server.url) as client:
        await client.sessions.events("1:2")
        usual = [line.partition(b":")[0] for line in server.requests.pop().split(b"\r\n")[1:]]
        for text in texts:
            try:
                await client.sessions.events(text)
            except InvalidSessionId:
                assert server.requests == []
                continue
            (head,) = server.requests
            server.requests.clear()
            line, *headers = head.split(b"\r\n")
            method, target, version = line.split(b" ")
            before, segment, after = target.removeprefix(b"/v2/sessions/").partition(b"/events")
            assert (method, version, segment, after) == (b"GET", b"HTTP/1.1", b"/events", b"")
            assert not set(before) & set(b"/?#\\ :")
            assert unquote_to_bytes(before) == SessionId.parse(text).encode()
            assert [each.partition(b":")[0] for each in headers] == usual


@pytest.mark.row(38)
async def test_row_38_a_fan_out_does_as_it_is_told() -> None:
    sandbox = Sandbox(users=1, sessions=2, mean_events=2)
    async with connected(sandbox) as client:
        one, other = sandbox.session_ids
        async with client.sessions.events_many([one, other, one]) as results:
            outcomes = [outcome.session_id async for outcome in results]
    assert sorted(outcomes) == sorted([one, other, one])
    assert len(sandbox.requests) == sandbox.activations == 2  # the same id, in flight at the same time


PLACES = {
    "connecting": Fault.drop(charged=False), "waiting for an answer": Fault.stall(), "reading the body": Fault.stall_body(),
    "waiting for the next attempt": Fault.status(503), "waiting out a 429": Fault.retry_after(60),
}  # fmt: skip


@pytest.mark.row(39)
@pytest.mark.row(40)
@pytest.mark.parametrize("place", PLACES)
async def test_row_39_and_40_a_timeout_of_the_callers_wins(place: str) -> None:
    retry = RetryPolicy(wait_initial=60, wait_max=60)
    async with spoiled(PLACES[place], times=1, retry=retry) as (sandbox, client):
        started = now()
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.1):
                await ask(sandbox, client, "list")
        assert type(caught.value) is TimeoutError  # the caller's, not ours
        assert 0.09 < now() - started < 0.1 + 0.4
        assert len(sandbox.requests) == 1
        if place != "waiting out a 429":
            assert len(await ask(sandbox, client, "list")) > 0
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await ask(sandbox, client)
            assert len(sandbox.requests) == 1


@pytest.mark.row(40)
@pytest.mark.virtual_time
@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.65, 1.2, 2.0, 3.3])
async def test_row_40_to_the_millisecond(seconds: float) -> None:
    limiter = RateLimiter(RateLimit(2, 1))
    lost = ProtocolError("lost", request=LIST)
    script: list[Scripted] = [json_response(status=503), lost, json_response(status=429, retry_after="2"), OK]
    policy = RetryPolicy(attempts=9, wait_jitter=0)
    pipeline = make_pipeline(FakeTransport(script, seconds=0.2), limiter, retry=policy)
    start = now()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await pipeline.fetch(LIST, lambda _: None)
    assert now() - start == pytest.approx(seconds, abs=0.001)


@pytest.mark.row(40)
@pytest.mark.virtual_time
async def test_row_40_our_own_deadline_too() -> None:
    pipeline = make_pipeline(FakeTransport(respond=lambda _: OK), RateLimiter(RateLimit(0.01, 1)))
    await pipeline.fetch(EVENTS, lambda _: None)
    start = now()
    with pytest.raises(APITimeoutError):
        await pipeline.fetch(EVENTS, lambda _: None, timeout=7.5)
    assert now() - start == pytest.approx(7.5, abs=0.001)


LOOPS = """
import asyncio, contextlib, gc, sys, time, weakref
from fullstory_async import ClientConfig, ClientStateError, FullStoryClient
from fullstory_async.testing import running_sandbox

running = contextlib.ExitStack()
sandbox = running.enter_context(running_sandbox(users=1, sessions=2, mean_events=2))
# otherwise the order of the finalisers depends on how many objects were made before
gc.disable()
client = FullStoryClient(config=ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url))

async def use():
    return len(await client.sessions.list(uid="u-1"))

async def open_and_use():
    await client.__aenter__()
    return await use()

assert asyncio.run(open_and_use()) == 2
try:
    asyncio.run(use())
except ClientStateError as error:
    print("second loop:", error)
if "close" in sys.argv:
    asyncio.run(client.close())
    try:
        asyncio.run(use())
    except ClientStateError as error:
        print("closed:", error)
print("requests:", len(sandbox.requests))
running.close()
gc.collect()  # a traceback refers to the client: within such a cycle aiohttp's own warning may come first
there = weakref.ref(client)
del client
while there() is not None:
    gc.collect()
    time.sleep(0.01)
"""


@pytest.mark.row(41)
@pytest.mark.parametrize("how", ["close", "forget"])
def test_row_41_the_loop_is_closed_with_the_client_open(how: str) -> None:
    command = [sys.executable, "-W", "default::ResourceWarning", "-c", LOOPS, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert "second loop: this client was opened in another event loop; make one for this loop" in done.stdout
    assert ("closed: the client is closed: make a new one" in done.stdout) is (how == "close")
    assert "requests: 1" in done.stdout
    assert "loop is closed" not in done.stdout + done.stderr
    assert done.stderr.count("a FullStoryClient was left open") == (how == "forget")
    assert "Unclosed" not in done.stderr


@pytest.mark.row(41)
async def test_row_41_two_threads() -> None:
    sandbox = Sandbox(users=1, sessions=1, mean_events=2)
    async with connected(sandbox) as client:
        said = []

        def elsewhere() -> None:
            try:
                asyncio.run(client.sessions.events("1:2"))
            except ClientStateError as error:
                said.append(str(error))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert said == ["this client was opened in another event loop; make one for this loop"]
        assert sandbox.requests == []
        assert len(await client.sessions.events(sandbox.session_ids[0])) > 0
