"""Valid responses of both wire forms, damaged: a result that can be read in full, or a `DecodeError`; and a stream agrees with the complete response."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from fullstory_async import DecodeError, SessionEvent, SessionId
from fullstory_async.codec import IncrementalEventDecoder, decode_events
from fullstory_async.http.contact import Contact
from fullstory_async.http.status_errors import error_from_response
from fullstory_async.jobs.task import require_json_object
from fullstory_async.messages import Request, Response
from tests.fuzz.mutations import damaged, rounds
from tests.wire.test_hostile_answers import DECODERS, EVENT, VALID, outcome, read_all

ID = SessionId("1:2")
PUBLISHED: dict[str, Any] = {
    "type": "navigate",
    "timestamp": "2026-05-04T10:00:00Z",
    "data": {"url": "https://x.test/?a=\u00fc", "n": [1, 2.5, None]},
}
SEEDS: dict[str, list[bytes]] = {
    **{operation: [json.dumps(body).encode(), json.dumps(body, ensure_ascii=False, indent=1).encode()] for operation, body in VALID.items()},
    "events": [json.dumps({"events": events}, ensure_ascii=escaped).encode()
               for escaped in (True, False) for events in ([EVENT] * 3, [PUBLISHED] * 4, [EVENT, PUBLISHED, None, {}])],
}  # fmt: skip
EVERYTHING = [body for bodies in SEEDS.values() for body in bodies]


@pytest.mark.timeout(0)
@pytest.mark.parametrize("operation", SEEDS)
def test_a_damaged_response_is_a_result_or_a_decode_error(operation: str) -> None:
    for rng in rounds(200):
        body = damaged(rng.choice(SEEDS[operation]), rng, EVERYTHING)
        response = Response(status=200, body=body)
        error_from_response(Request(operation="x", path="/"), Response(status=400, body=body), Contact())
        for check in (require_json_object, lambda response: read_all(DECODERS[operation](response))):
            try:
                check(response)
            except DecodeError as error:
                str(error).encode()


@pytest.mark.timeout(0)
def test_a_damaged_response_is_the_same_in_pieces() -> None:
    for rng in rounds(400):
        body = damaged(rng.choice(SEEDS["events"]), rng, EVERYTHING)
        size = rng.choice((1, 3, 10, 64, 300, 5000))

        def streamed(body: bytes = body, size: int = size) -> Iterator[SessionEvent]:
            decoder = IncrementalEventDecoder()
            for start in range(0, len(body), size):
                yield from decoder.feed(body[start : start + size])
            yield from decoder.finish()

        whole = outcome(partial(decode_events, Response(status=200, body=body), ID))
        assert outcome(streamed) == whole, body
