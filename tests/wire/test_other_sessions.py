"""Row 107: responses that are about another session than was requested, mostly for being one too many."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fullstory_async import ActivationLedger, ClientConfig, ConnectError, DecodeError, FullStoryClient
from fullstory_async.jobs import Job, JobPlan, JobReader
from tests.wire.servers import KEY, Connection, client_of, http, raw_server

DEVICE, SESSION = "5736495272951808", "5629499534213120"
ASKED = f"{DEVICE}:{SESSION}"
OTHER = "4411220099887766554:1200330044005500660"
GUIDS = "3e2bf53f-52a7-4f2c-9f5c-29c9276febf9:cef16b56-8c4b-4f2a-9e3e-d955b1a50eb5"


def event(session_id: str, **more: Any) -> dict[str, Any]:
    device, _, session = session_id.partition(":")
    return {"device_id": device, "session_id": session, "event_type": "click", **more}


def requested(connection: Connection) -> str:
    return connection.head.split(b"/sessions/")[1].split(b"/")[0].decode().replace("%3A", ":")


async def outcome(operation: str, body: Any, session_id: str = ASKED) -> DecodeError | None:
    """Return the error of a call that gets this body, after what must hold for it was checked."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def respond(connection: Connection) -> None:
        await connection.send(http(raw))

    failed: DecodeError | None = None
    async with raw_server(respond) as server, client_of(server.url) as client:
        try:
            if operation == "stream":
                assert [each async for each in client.sessions.stream_events(session_id)]
            else:
                await getattr(client.sessions, operation)(session_id)
        except DecodeError as error:
            failed = error
        assert (client.stats.activations, client.stats.activations_at_risk) == (1, 0)
    if failed is not None:
        assert failed.may_have_cost
        assert not (failed.permanent)
        assert not (failed.is_transient)
        assert failed.session_id == session_id
        assert operation == "stream" or (failed.response is not None and failed.response.body == raw)
    return failed


WRONG: list[tuple[str, Any]] = [
    ("events", {"events": [event(OTHER), event(OTHER)]}),
    ("events", {"events": [{"session_id": "12", "device_id": "3"}]}),
    ("events", {"events": [{"device_id": 12, "session_id": 3}]}),
    ("events", {"events": [{"type": "x"}, None, event(OTHER)]}),
    ("events", b'{"events":[{"event_properties":{"a":NaN},"device_id":"1","session_id":"2"}]}'),
    # the device is the same
    ("events", {"events": [event(f"{DEVICE}:7")]}),
    ("stream", {"events": [event(OTHER), event(OTHER)]}),
    ("context", {"context_data": {"context": {"session_id": OTHER}, "pages": []}}),
    ("context", {"context": {"session_id": OTHER}}),
    ("summary", {"sessionId": OTHER, "summary": "A visit."}),
    ("summary", {"summary": "A visit.", "session_id": OTHER}),
]

RIGHT: list[tuple[str, Any, str]] = [
    ("events", {"events": [event(ASKED)]}, ASKED),
    ("events", {"events": []}, ASKED),
    ("events", {"events": [{"event_type": "custom", "source_type": "server"}]}, ASKED),
    ("events", {"events": [{"event_type": "custom"}, event(ASKED), event(OTHER)]}, ASKED),
    ("events", {"events": [event(OTHER), event(ASKED)]}, ASKED),
    ("events", {"events": [{"type": "custom", "data": {"session_id": "9", "device_id": "8"}}]}, ASKED),
    ("events", {"events": [{"device_id": int(DEVICE), "session_id": f"0{SESSION}"}]}, ASKED),
    # rounded by a proxy that wrote the JSON anew
    ("events", {"events": [{"device_id": 1200330044005500700, "session_id": 1}]}, "1200330044005500660:1"),
    ("events", {"events": [{"device_id": 2**53, "session_id": -(2**53)}]}, f"{2**53 + 1}:-{2**53 + 1}"),
    ("events", {"events": [{"device_id": 10**400, "session_id": 1}, {"device_id": 5.0, "session_id": True}]}, ASKED),
    ("events", {"events": [event(GUIDS)]}, ASKED),
    ("events", {"events": [{"session_id": "12"}, {"device_id": "-5"}]}, ASKED),
    ("events", {"events": [event(OTHER)]}, GUIDS),
    ("events", {"events": [event(OTHER)]}, "an-opaque-id"),
    ("stream", {"events": [event(ASKED)]}, ASKED),
    ("stream", {"events": [event(OTHER)]}, GUIDS),
    ("context", {"context_data": {"context": {"session_id": ASKED}, "pages": []}}, ASKED),
    ("context", {"context_data": {"context": {"session_id": OTHER}, "pages": []}}, GUIDS),
    ("context", {"context_data": {"context": {"session_id": "9"}, "pages": []}}, ASKED),
    ("summary", {"sessionId": OTHER.split(":")[1], "summary": "A visit."}, ASKED),
    ("summary", {"sessionId": GUIDS, "summary": "A visit."}, ASKED),
    ("summary", {"summary": "A visit.", "response": {"session_id": OTHER}}, ASKED),
]  # fmt: skip


@pytest.mark.row(107)
async def test_row_107_a_response_about_another_session() -> None:
    for operation, body in WRONG:
        error = await outcome(operation, body)
        assert error is not None, body
        assert "another session" in str(error)


@pytest.mark.row(107)
async def test_row_107_what_is_no_contradiction() -> None:
    for operation, body, session_id in RIGHT:
        assert await outcome(operation, body, session_id) is None, body


@pytest.mark.row(107)
@pytest.mark.parametrize("operation", ["events", "stream", "context"])
async def test_row_107_one_unasked_response_shifts_no_other(operation: str, tmp_path: Path) -> None:
    """The response to a request comes after the client has taken the unasked one, and sent the next request."""
    ledger = ActivationLedger(tmp_path / "ledger")

    async def respond(connection: Connection) -> None:
        ids = [requested(connection)] if connection.number != 3 else [OTHER, requested(connection)]
        for session_id in ids:
            body: Any = {"context_data": {"context": {"session_id": session_id}}}
            if operation != "context":
                body = {"events": [event(session_id)]}
            await connection.send(http(json.dumps(body).encode()))
            for _ in range(20):  # until the client has sent its next request
                await asyncio.sleep(0)

    async def ask(client: FullStoryClient, session_id: str) -> str | None:
        if operation == "stream":
            return [each async for each in client.sessions.stream_events(session_id)].pop().session_id
        if operation == "events":
            return (await client.sessions.events(session_id))[0].session_id
        return (await client.sessions.context(session_id)).session_id.split(":")[1]

    failed = []
    async with raw_server(respond) as server, client_of(server.url, ledger=ledger) as client:
        for number in range(10):
            try:
                assert await ask(client, f"1:{number}") == str(number)
            except DecodeError:
                failed.append(number)
        assert len(server.requests) == client.stats.requests == client.stats.activations == 10
    assert failed == [2]
    assert await ledger.spent(ClientConfig(api_key=KEY).key_fingerprint) == 10


@pytest.mark.row(107)
async def test_row_107_a_job_keeps_the_body_and_asks_again_when_it_is_resumed(tmp_path: Path) -> None:
    wrong = json.dumps({"events": [event(OTHER)]}).encode()
    bodies = [wrong, json.dumps({"events": [event(ASKED)]}).encode()]

    async def respond(connection: Connection) -> None:
        is_events = b"/events" in connection.head
        await connection.send(http(bodies.pop(0)) if is_events else http(b'{"orgId":"O"}'))

    async with raw_server(respond) as server, client_of(server.url) as client:
        async with Job.open(tmp_path / "j", client=client, plan=JobPlan(events=True)) as job:
            await job.add([ASKED])
            report = await job.run()
        assert (report.spent, report.at_risk, report.failed) == (1, 0, {"DecodeError": 1})
        failures = [failure async for failure in JobReader(tmp_path / "j").failures()]
        assert [(each.body, each.permanent) for each in failures] == [(wrong, False)]


BODY = json.dumps({"events": [event(ASKED)]}).encode()
LENGTH = http(BODY)
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: Chunked\r\n\r\n"
    + f"{len(BODY):x}\r\n".encode()
    + BODY
    + b"\r\n0\r\n\r\n"
)
PARTS = [http(b"{}")[:20], b"H", b"HTTP/1.1 103 Early Hints\r\nLink: x", b"HTTP/1.1 100 Continue\r\n\r\n", b"no HTTP"]  # fmt: skip


@pytest.mark.row(120)
@pytest.mark.parametrize("whole", [LENGTH, CHUNKED])
@pytest.mark.parametrize("at_once", [True, False])
async def test_row_120_a_part_of_an_unasked_response_ends_its_connection(at_once: bool, whole: bytes) -> None:
    """The parser forgets a head that is incomplete when the next request is sent; its rest would break that."""
    carried: list[object] = []

    async def respond(connection: Connection) -> None:
        carried.append(connection.writer)
        pieces = [whole, PARTS[connection.number // 2]] if connection.number % 2 else [whole]
        if at_once:
            pieces = [b"".join(pieces)]
        for piece in pieces:
            await connection.send(piece)
            for _ in range(10):  # until the client has read it
                await asyncio.sleep(0)

    async with raw_server(respond) as server, client_of(server.url) as client:
        for _ in PARTS:
            for _ in range(2):
                await client.sessions.events(ASKED)
                await asyncio.sleep(0.01)
    again = [carried[at] is carried[at + 1] for at in range(len(carried) - 1)]
    assert again == [at % 2 == 1 for at in range(len(again))]


@pytest.mark.row(120)
async def test_row_120_pieces_of_a_response_keep_their_connection() -> None:
    """However it is divided: a head in two pieces, a body in many, an interim response before it."""
    carried: list[object] = []
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    ways = [
        [LENGTH[:30], LENGTH[30:]], [LENGTH[:-9], LENGTH[-9:-3], LENGTH[-3:]], [interim, LENGTH], [interim + LENGTH],
        [CHUNKED[:-5], CHUNKED[-5:]], [CHUNKED[:-2], CHUNKED[-2:]], [CHUNKED[:90], CHUNKED[90:150], CHUNKED[150:]], [CHUNKED], [LENGTH],
    ]  # fmt: skip

    async def respond(connection: Connection) -> None:
        carried.append(connection.writer)
        for piece in ways[connection.number - 1]:
            await connection.send(piece)
            await asyncio.sleep(0.002)

    async with raw_server(respond) as server, client_of(server.url) as client:
        for _ in ways:
            await client.sessions.events(ASKED)
    assert len(set(map(id, carried))) == 1


@pytest.mark.row(107)
async def test_row_107_a_server_that_speaks_first_gets_no_request() -> None:
    received = b""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        writer.write(http(b'{"events":[]}'))
        received += await reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def wait_for_greeting(
        session: aiohttp.ClientSession, _: object, params: aiohttp.TraceConnectionCreateEndParams
    ) -> None:
        await asyncio.sleep(0.02)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(wait_for_greeting)
    async with server, aiohttp.ClientSession(trace_configs=[trace]) as session:
        async with client_of(url, session=session) as client:
            with pytest.raises(ConnectError, match="before any request") as failed:
                await client.sessions.events(ASKED)
            assert (failed.value.sent, failed.value.may_have_cost) == (False, False)
    assert received == b""
