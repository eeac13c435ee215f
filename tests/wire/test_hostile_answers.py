"""Hostile answers: every operation, and what a broken or malicious server may send it.

Each is a result whose every field can be read, shown, pickled and compared, or a `DecodeError` (or `ResponseTooLarge`), at once or on
reading the properties of an event. Nothing else is ever raised, and the memory stays what a body may take.
"""

from __future__ import annotations

import copy
import gzip
import json
import pickle
import resource
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from fullstory_async import (
    DecodeError,
    FullStoryClient,
    ResponseTooLarge,
    SessionEvent,
    SessionId,
    UnexpectedResponseError,
)
from fullstory_async.codec import (  # fmt: skip
    IncrementalEventDecoder,
    decode_context,
    decode_events,
    decode_key_owner,
    decode_profile,
    decode_profiles,
    decode_sessions,
    decode_summary,
)
from fullstory_async.http.contact import Contact
from fullstory_async.http.status_errors import error_from_response
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.messages import Request, Response
from tests.wire.servers import ONCE, Calls, Connection, client_of, http, raw_server

ID = SessionId("1:2")
EVENT = {
    "event_type": "click", "event_time": "2026-05-04T10:00:00Z", "device_id": "1", "session_id": "2", "view_id": "3", "source_type": "web",
    "event_properties": {"target": {"text": "Buy"}, "x": 1}, "source_properties": {"url": "https://shop.test", "user_agent": {"raw_user_agent": "x"}},
}  # fmt: skip
PROFILE = {
    "id": "p", "name": "Support", "llm": {"model": "m", "temperature": 0.5, "response_schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
    "configuration": {"slice": {"mode": "FIRST", "event_limit": 5}, "events": {"include_types": ["click"]}, "context": {"exclude": ["user"]}},
}  # fmt: skip
VALID = {
    "list": {"sessions": [{"sessionId": "2", "userId": "1", "fsUrl": "https://x.test", "createdTime": "1716480000"}], "next_pagination_token": "t"},
    "events": {"events": [EVENT, {"type": "navigate", "timestamp": "2026-05-04T10:00:00Z", "data": {"a": [1]}}]},
    "summary": {"sessionId": "2", "configProfileId": "p", "summary": "x", "response": {"a": [1]}, "response_schema": {"type": "object"}},
    "context": {"context_data": {"context": {"session_id": "2", "session_created_at": "2026-05-04", "user_context": {"email": "a", "vars": {"a": 1}}},
                                 "pages": [{"url": "u", "events": [{"event_type": "click", "count": 1}]}]}},
    "profile": PROFILE, "profiles": {"profiles": [PROFILE, None]},
    "whoami": {"email": "a", "orgId": "o", "role": "ADMIN"},
}  # fmt: skip
DECODERS: dict[str, Callable[[Response], object]] = {
    "list": decode_sessions, "events": lambda response: decode_events(response, ID), "summary": lambda response: decode_summary(response, ID, None),
    "context": lambda response: decode_context(response, ID), "profile": decode_profile, "profiles": decode_profiles, "whoami": decode_key_owner,
}  # fmt: skip

DEEP = 100_000
VALUES = {
    "deep lists": b"[" * DEEP + b"]" * DEEP, "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP, "unclosed lists": b"[" * DEEP,
    **{f"{depth} deep": b'{"a":[' * (depth // 2) + b"1" + b"]}" * (depth // 2) for depth in (190, 330, 980)},
    "5 000 digits": b"9" * 5000, "-5 000 digits": b"-" + b"9" * 5000, "4 000 digits": b"9" * 4000, "1e999": b"1e999", "NaN": b"NaN", "-Infinity": b"-Infinity",
    "5 000 digits as text": b'"' + b"9" * 5000 + b'"', "a lone surrogate": b'"a\\ud800b"', "a lone surrogate as a key": b'{"\\udfff":1}',
    "no UTF-8": b'"\xff\xfe"', "half a character": b'"\xe2\x82"', "an encoded surrogate": b'"\xed\xa0\x80"', "controls": b'"\\u0000\\u001b[31m\\r\\n"', "a raw control": b'"\x00"',
    "null": b"null", "true": b"true", "a number": b"17", "half": b"0.5", "text": b'"x"', "no text": b'""', "a list": b"[1,null,[]]", "an object": b'{"a":{}}',
    "a list of objects": b'[{"a":1},5,null]', "twice": b'{"a":1,"a":[]}', "a year too far": b'"99999-01-01"', "year 0": b'"0000-00-00T00:00:00Z"', "time 1e300": b"1e300",
}  # fmt: skip
WHOLE = {
    "nothing": b"", "space": b"  \n", "HTML": b"<html>", "one brace": b"{", "text behind it": b"{} x", "two": b"{}{}", "a comma": b'{"a":1,}', "single quotes": b"{'a':1}",
    "zeros": bytes(1000), "UTF-16": '{"events":[]}'.encode("utf-16"), "UTF-32": '{"events":[]}'.encode("utf-32"), "a BOM": b"\xef\xbb\xbf{}", "two BOMs": b"\xef\xbb\xbf" * 2 + b"{}",
}  # fmt: skip


def placed(value: object) -> Iterator[Any]:
    """Give every copy of a JSON value in which one part of it is a marker."""
    yield "MARK"
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from ({**value, name: other} for other in placed(inner))
        yield {**value, "unknown": "MARK"}
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from ([*value[:at], other, *value[at + 1 :]] for other in placed(inner))


def bodies(operation: str) -> Iterator[bytes]:
    """Give every body of an operation in which one part of it is hostile."""
    yield from WHOLE.values()
    for shape in placed(VALID[operation]):
        before, after = json.dumps(shape).encode().split(b'"MARK"')
        for value in VALUES.values():
            yield before + value + after


def read_all(value: Any) -> None:
    """Do with an answer what a program may do."""
    _ = repr(value), pickle.loads(pickle.dumps(value)), copy.deepcopy(value)
    _ = value == copy.copy(value)
    if attrs.has(type(value)):
        for name in dir(value):
            if not name.startswith("_") and name not in ("id", "items", "source", "as_type"):
                getattr(value, name)
    for item in value if hasattr(value, "__getitem__") else ():
        read_all(item)
    if isinstance(value, SessionEvent):
        assert (value.description, value.is_error, value.frustrations, value.source, hash(value)) is not None


@pytest.mark.parametrize("operation", VALID)
def test_a_hostile_part_is_a_result_or_a_decode_error(operation: str) -> None:
    results, refusals, said = 0, 0, []
    for body in bodies(operation):
        try:
            read_all(DECODERS[operation](Response(status=200, body=body)))
            results += 1
        except DecodeError as error:
            refusals += 1
            said.append(str(error))
    assert max(map(len, said)) < 2000
    "".join(said).encode()
    assert min(results, refusals) > 20


def outcome(make: Callable[[], Iterable[SessionEvent]]) -> list[str] | type[DecodeError]:
    """Return events as texts of all that they hold, in any order, or what is wrong."""
    texts = []
    try:
        for event in make():
            read_all(event)
            texts.append(repr(event))
    except DecodeError:
        return DecodeError
    return sorted(texts)


@pytest.mark.parametrize("size", [17, 1_000_000])
def test_a_stream_and_a_whole_answer_agree(size: int) -> None:
    def streamed(body: bytes) -> Iterator[SessionEvent]:
        segments = IncrementalEventDecoder()
        for start in range(0, len(body), size):
            yield from segments.feed(body[start : start + size])
        yield from segments.finish()

    for body in bodies("events"):
        if len(body) < 20_000 or size > 1000:
            whole = outcome(partial(decode_events, Response(status=200, body=body), ID))
            assert outcome(partial(streamed, body)) == whole


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 302])
def test_a_hostile_error_is_an_error_with_a_short_printable_message(status: int) -> None:
    request = Request(operation="list", path="/p", query=(("email", "ada@example.com"),))
    for shape in ("MARK", {"code": "MARK", "message": "m"}, {"code": "c", "message": "MARK"}):
        before, after = json.dumps(shape).encode().split(b'"MARK"')
        for value in (*VALUES.values(), *WHOLE.values(), json.dumps("x\n" * 100_000).encode()):
            response = Response(status=status, body=before + value + after)
            error = error_from_response(request, response, Contact())
            assert type(pickle.loads(pickle.dumps(error))) is type(error)
            assert len(str(error)) < 2000
            assert str(error).isprintable()


async def streamed(client: FullStoryClient) -> list[SessionEvent]:
    return [event async for event in client.sessions.stream_events("1:2")]


CALLS: Calls = {
    "list": lambda client: client.sessions.list(uid="u")._first(),
    "events": lambda client: client.sessions.events("1:2"),
    "stream": streamed,
    "summary": lambda client: client.sessions.summary("1:2"),
    "context": lambda client: client.sessions.context("1:2"),
    "profile": lambda client: client.profiles.get("p"),
    "profiles": lambda client: client.profiles.list()._first(),
    "whoami": lambda client: client.whoami(),
}


LIMIT = 1_000_000


@cache  # as compressing takes half a second, which no other test of this file needs
def too_large() -> dict[str, bytes]:
    bomb = b'{"events":[' + b" " * 50_000_000 + b"]}"
    packed, deflated = gzip.compress(bomb, 1), zlib.compress(bomb, 1)
    return {
        "one byte more": http(b"{" + b" " * (LIMIT - 1) + b"}"),
        "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b" " * 0x10000 + b"\r\n") * 30,
        "up to the close": b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 2 * LIMIT,
        "a gzip bomb": http(packed, Content_Encoding="gzip"),
        "a deflate bomb": http(deflated, Content_Encoding="deflate"),
        "a bomb as an error": http(packed, "503 Service Unavailable", Content_Encoding="gzip"),
    }  # fmt: skip


@pytest.mark.parametrize("operation", CALLS)
async def test_over_the_wire_too(operation: str) -> None:
    answers = [http(body) for body in (*WHOLE.values(), *VALUES.values())]
    sent = iter(answers)

    async def handler(connection: Connection) -> None:
        await connection.send(next(sent))

    async with raw_server(handler) as server, client_of(server.url) as client:
        for _ in answers:
            try:
                read_all(await CALLS[operation](client))
            except (DecodeError, UnexpectedResponseError):
                continue
    assert len(server.requests) == len(answers)


@pytest.mark.parametrize("operation", CALLS)
async def test_what_is_too_large_is_not_read(operation: str) -> None:
    async def handler(connection: Connection) -> None:
        await connection.send(answer)
        if answer is answers["up to the close"]:
            connection.writer.close()

    answers = too_large()
    async with raw_server(handler) as server:
        async with client_of(server.url, max_response_bytes=LIMIT, retry=ONCE) as client:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for answer in answers.values():  # noqa: B007  (which the server sends)
                with pytest.raises(ResponseTooLarge):
                    await CALLS[operation](client)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 30


async def test_the_default_limit_is_64_mib_to_the_byte() -> None:
    size = 64 * 1024 * 1024

    async def handler(connection: Connection) -> None:
        length = size + (connection.number > 1)
        connection.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n{" % length)
        piece = b" " * 1024 * 1024
        for _ in range(63):
            await connection.send(piece)
        await connection.send(b" " * (length - 63 * len(piece) - 2) + b"}")

    async with raw_server(handler) as server, client_of(server.url) as client:
        assert len(await client.sessions.events("1:2")) == 0
        with pytest.raises(ResponseTooLarge, match=str(size)):
            await client.sessions.events("1:2")


async def test_a_job_goes_on_and_records_what_failed(tmp_path: Path) -> None:
    hostile = {f"9:{n}": body for n, body in enumerate((*WHOLE.values(), *VALUES.values()))}
    hostile |= {
        f"8:{n}": b'{"events":[{"event_properties":' + value + b"}]}"
        for n, value in enumerate(VALUES.values())
    }

    async def handler(connection: Connection) -> None:
        if connection.head.startswith(b"GET /me "):
            await connection.send(http(b'{"orgId":"o"}'))
            return
        found = connection.head.split(b"/")[3].decode().replace("%3A", ":")
        await connection.send(http(hostile.get(found, b'{"events":[{"event_type":"click"}]}')))

    good = [f"1:{n}" for n in range(len(hostile))]
    async with raw_server(handler) as server, client_of(server.url) as client:
        async with Job.open(tmp_path / "job", client=client, plan=JobPlan(events=True)) as job:
            # in turn, because five responses in a row that can't be FullStory's would end the run
            pairs = zip(good, hostile, strict=True)
            await job.add([each for good_id, hostile_id in pairs for each in (good_id, hostile_id)])
            report = await job.run(concurrency=1)
            assert report.reason == "finished"
            assert 30 < report.left == report.at_risk < len(hostile)
            files = await job.export(tmp_path / "all.jsonl")
            await job.export(tmp_path / "all.parquet", redact=["a"])
    assert len(server.requests) == 1 + 2 * len(hostile)  # whose key it is, and each once
    results = {result.session_id: result async for result in JobReader(tmp_path / "job").results()}
    assert [len(results[each].events or ()) for each in good] == [1] * len(good)
    for each in hostile:
        found = results[each]
        assert found.events is None or not found.failures
        assert {failure.error for failure in found.failures} <= {"DecodeError"}
    exported = [json.loads(line) for line in files[0].read_text().splitlines()]
    assert {row["full_session_id"] for row in exported} >= set(good)
