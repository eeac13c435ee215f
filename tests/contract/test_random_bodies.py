"""Random bodies from a mock of the published contract: valid ones are read, others are read or fail cleanly.

FULLSTORY_BODIES sets how many; ``nox -s bodies`` takes ten thousand.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from contextlib import aclosing
from typing import Any

import attrs
import pytest

from fullstory_async import (
    APIStatusError,
    DecodeError,
    ErrorInSuccess,
    FullStoryClient,
    InvalidSessionId,
    SessionEvent,
    UnexpectedResponseError,
)
from tests.contract.test_contract import client_of, example, mock_server
from tests.limits import A_TEST, FACTOR

BODIES = int(os.environ.get("FULLSTORY_BODIES", "400"))
ODD: list[Any] = [
    None, True, 0, -1, 1.5, 2**70, 1e308, float("nan"), float("-inf"), "", "text", "\ud800", "\x00\x1b[2J",
    "9" * 30, "1:2",
    "2026-13-45T99:00:00Z", "9999-12-31T23:59:59.9999999-23:59", [], [[]], {}, {"": None},
]  # fmt: skip


def anything(rng: random.Random, depth: int = 3) -> Any:
    """Make any JSON value, and some that are none."""
    kind = rng.random()
    if depth == 0 or kind < 0.6:
        return rng.choice(ODD)
    if kind < 0.8:
        return [anything(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    keys = ["sessions", "events", "type", "timestamp", "event_type", "data", "id", "code", "ünï", ""]
    return {rng.choice(keys): anything(rng, depth - 1) for _ in range(rng.randint(0, 3))}


def twisted(schema: Any, rng: random.Random, share: float) -> Any:
    """Make a value of the schema, of which a share is null, missing, unknown, or of another type."""
    if rng.random() < share:
        return rng.choice([None, anything(rng)])
    if schema["type"] == "array":
        return [twisted(schema["items"], rng, share) for _ in range(rng.randint(0, 4))]
    if schema["type"] != "object":
        return example(schema, rng)
    value = {
        name: twisted(each, rng, share)
        for name, each in schema.get("properties", {}).items()
        if rng.random() >= share
    }
    extra = {rng.choice(["unknown", "session_id", "event_time", "response"]): anything(rng)}
    return {**value, **(extra if rng.random() < share else {})}


def spoilt(body: bytes, rng: random.Random) -> bytes:
    """Damage the bytes themselves."""
    at = rng.randrange(len(body))
    return rng.choice(
        [
            body[:at],
            body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :],
            b"\xef\xbb\xbf" + body,
            body + body,
            b"[" * 2000 + body,
            b"<html>" + body,
        ]
    )


@attrs.define
class Bodies:
    """Makes one body after another, and remembers the last and whether it keeps to the contract."""

    last: bytes = b""
    right: bool = False

    def make(self, schema: Any, rng: random.Random) -> bytes:
        share = rng.choice([0.0, 0.05, 0.3])
        self.right, value = share == 0.0, twisted(schema, rng, share)
        self.last = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
        if not self.right and rng.random() < 0.2:
            self.last = spoilt(self.last, rng)
        return self.last


def read_event(event: SessionEvent) -> None:
    """Read everything that an event offers; it is decoded only now."""
    for name in dir(event):
        if not name.startswith("_"):
            getattr(event, name)


async def listed(client: FullStoryClient) -> int:
    page = await client.sessions.list(uid="u-1")
    for session in page:
        assert isinstance(repr(session), str)
        try:
            assert session.id
        except InvalidSessionId:
            assert not session.session_id or "1:2" not in session.session_id
    assert page.received is not None
    return page.received


async def events(client: FullStoryClient) -> int:
    found = await client.sessions.events("1:2")
    for event in found:
        read_event(event)
    assert found.errors() is not None
    assert found.pages() is not None
    return len(found)


async def streamed(client: FullStoryClient) -> int:
    count = 0
    async with aclosing(client.sessions.stream_events("1:2")) as stream:
        async for event in stream:
            read_event(event)
            count += 1
    return count


async def summary(client: FullStoryClient) -> int:
    found = await client.sessions.summary("1:2", config_profile_id="support")
    assert isinstance(found.text, str)
    assert found.session_id
    return 0


CALLS = {listed: "sessions", events: "events", streamed: "events", summary: "none"}


@pytest.mark.timeout(600 * FACTOR if BODIES > 400 else A_TEST)
async def test_random_bodies_are_read_or_fail_cleanly() -> None:
    bodies = Bodies()
    ended: Counter[str] = Counter()
    async with mock_server(make_body=bodies.make) as (url, broken), client_of(url) as client:
        for number in range(BODIES):
            call = list(CALLS)[number % len(CALLS)]
            try:
                count = await call(client)
            except (UnexpectedResponseError, ErrorInSuccess) as error:
                # a body that does not keep to the contract may look like another API's, or like an error
                clean = not bodies.right
                ended["failed" if clean else f"{call.__name__}: {error}, {bodies.last!r}"] += 1
            except DecodeError as error:
                kept = None if error.response is None else error.response.body
                clean = not bodies.right and kept in (None, bodies.last)
                ended["failed" if clean else f"{call.__name__}: {error}, {bodies.last!r}"] += 1
            else:
                if bodies.right:
                    assert count == len(json.loads(bodies.last).get(CALLS[call], []))
                ended["right" if bodies.right else "tolerated"] += 1
    print(dict(ended))  # noqa: T201
    assert broken == []
    assert set(ended) == {"right", "tolerated", "failed"}
    assert min(ended["right"], ended["tolerated"], ended["failed"]) > BODIES / 10


@pytest.mark.timeout(600 * FACTOR if BODIES > 400 else A_TEST)
@pytest.mark.parametrize("status", [401, 404])
async def test_random_error_bodies_are_errors_of_their_status(status: int) -> None:
    bodies = Bodies()
    async with mock_server(status, make_body=bodies.make) as (url, broken), client_of(url) as client:
        for _ in range(BODIES // 8):
            with pytest.raises(APIStatusError) as caught:
                await events(client)
            assert caught.value.status == status
            assert isinstance(str(caught.value), str)
            assert isinstance(caught.value.code, str | int | None)
    assert broken == []
