"""Any text as an id: exactly one request, with that very id in that very segment of the path, or a refusal before any I/O."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fullstory_async import (
    ConfigurationError,
    FullStoryClient,
    InvalidSessionId,
    ProfileConfiguration,
    SessionEvent,
    SessionId,
)
from tests.wire.servers import Connection, RawServer, client_of, http, raw_server

NASTY = st.sampled_from(
    ["/", "\\", ".", "..", "%", "%2F", "%2e%2e", "%00", "%0d%0a", "%25", "?", "#", ":", "!", "@", "//", " ", "\r\n", "\0", "\x7f", "\x85",
     "\u2028", "\ud800", "\udfff", "ü", "😀", "１", "http://", "https://a.test/session/", "HTTP/1.1", "X: y", ";", "&", "+", "1:2", "~"]
)  # fmt: skip
TEXTS = (
    st.text()
    | st.text(st.characters())  # lone surrogates too
    | st.lists(NASTY | st.text(st.characters(), max_size=3), max_size=8).map("".join)
    | st.integers(100, 20_000).flatmap(lambda n: st.sampled_from(["a", "ü", "%41", "/"]).map(lambda c: c * n))
)


async def streamed(client: FullStoryClient, text: str) -> list[SessionEvent]:
    return [event async for event in client.sessions.stream_events(text)]


FEWER = settings(max_examples=settings().max_examples * 2 // 5)

Ask = Callable[[FullStoryClient, str], Awaitable[object]]
Talk = Callable[[Ask, str], tuple[list[bytes], Exception | None]]

SESSION_CALLS: dict[str, Ask] = {
    "events": lambda client, text: client.sessions.events(text),
    "summary": lambda client, text: client.sessions.summary(text),
    "context": lambda client, text: client.sessions.context(text),
    "stream": streamed,
}
PROFILE_CALLS: dict[str, Ask] = {
    "get": lambda client, text: client.profiles.get(text),
    "delete": lambda client, text: client.profiles.delete(text),
    "update": lambda client, text: client.profiles.update(
        text, name="n", configuration=ProfileConfiguration()
    ),
}
QUERY_CALLS: dict[str, Ask] = {
    "email": lambda client, text: client.sessions.list(email=text)._first(),
    "uid": lambda client, text: client.sessions.list(uid=text)._first(),
    "profile": lambda client, text: client.sessions.summary("1:2", config_profile_id=text),
    "extra": lambda client, text: client.sessions.list(uid="u", extra_query={"x": text})._first(),
}


@pytest.fixture(scope="module")
def talk() -> Iterator[Talk]:
    """Make a call, and return the head of each request that the server has seen of it."""

    async def handler(connection: Connection) -> None:
        await connection.send(http(b"{}"))

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> tuple[RawServer, FullStoryClient]:
            server = await stack.enter_async_context(raw_server(handler))
            return server, await stack.enter_async_context(client_of(server.url))

        server, client = runner.run(start())

        def talk(call: Ask, text: str) -> tuple[list[bytes], Exception | None]:
            async def alone() -> None:
                await call(client, text)

            refused: Exception | None = None
            server.requests.clear()
            try:
                runner.run(alone())
            except (InvalidSessionId, ConfigurationError) as error:
                refused = error
            assert "\n" not in str(refused)
            return list(server.requests), refused

        yield talk
        runner.run(stack.aclose())


def target_of(head: bytes) -> bytes:
    """Return the target of a well-formed head: no more lines and no other headers than we know of."""
    first, *headers = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    names = {header.split(b":")[0].lower() for header in headers}
    assert names <= {b"host", b"accept", b"user-agent", b"authorization", b"accept-encoding", b"content-type", b"content-length"}  # fmt: skip
    method, target, version = first.split(b" ")
    assert (method in {b"GET", b"POST", b"DELETE"}, version) == (True, b"HTTP/1.1")
    return target


@pytest.mark.parametrize("name", SESSION_CALLS)
@FEWER
@given(TEXTS)
@example("1:2")
@example("a%2541")
@example("https://app.fullstory.com/ui/O/session/a%252e")
def test_any_text_as_a_session_id(talk: Talk, name: str, text: str) -> None:
    requests, refused = talk(SESSION_CALLS[name], text)
    if refused is not None:
        assert isinstance(refused, InvalidSessionId)
        assert requests == []
        return
    (head,) = requests
    operation = "events" if name == "stream" else name
    target = re.fullmatch(rb"/v2/sessions/([^/?#\\]+)/%s" % operation.encode(), target_of(head))
    assert target is not None
    assert unquote_to_bytes(target[1]) == SessionId(text).encode()
    assert target[1] not in (b".", b"..")


@pytest.mark.parametrize("name", PROFILE_CALLS)
@FEWER
@given(TEXTS)
@example("2b0c7e3c-7d0b-4a57-9d4f-0e6b1e2d3c4f")
def test_any_text_as_a_profiles_id(talk: Talk, name: str, text: str) -> None:
    requests, refused = talk(PROFILE_CALLS[name], text)
    if refused is not None:
        assert requests == []
        return
    (head,) = requests
    target = re.fullmatch(rb"/v2/visit_profile/([^/?#\\]+)", target_of(head))
    assert target is not None
    assert unquote_to_bytes(target[1]) == text.encode()
    assert target[1] not in (b".", b"..")


@pytest.mark.parametrize("name", QUERY_CALLS)
@FEWER
@given(TEXTS)
def test_any_text_in_the_query(talk: Talk, name: str, text: str) -> None:
    requests, refused = talk(QUERY_CALLS[name], text)
    if refused is not None:
        assert requests == []
        return
    (head,) = requests
    path, query = target_of(head).split(b"?", 1)
    values = [unquote_to_bytes(value.replace(b"+", b" ")) for value in re.split(b"[&=]", query)]
    assert path in {b"/sessions/v2", b"/v2/sessions/1%3A2/summary"}
    assert text.encode() in values
