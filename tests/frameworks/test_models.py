"""Models as fields of pydantic and as responses of FastAPI; trio gets a clear word."""

from __future__ import annotations

import asyncio
import importlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from fullstory_async import (
    ClientStateError,
    FullStoryClient,
    Page,
    Session,
    SessionEvent,
    SessionEvents,
    SessionId,
    Stats,
)
from fullstory_async.jobs import Job

pydantic: Any = importlib.import_module("pydantic")
fastapi: Any = importlib.import_module("fastapi")
trio: Any = importlib.import_module("trio")

EVENTS = SessionEvents(
    "1:2", [SessionEvent(type="click", timestamp=datetime(2026, 5, 4, tzinfo=UTC), data={"n": 1})]
)
REPLAY = "https://app.fullstory.com/ui/ORG/session/1%3A2"


def test_pydantic_has_ids_and_models_as_fields() -> None:
    ticket = pydantic.create_model("Ticket", session=(SessionId, ...), events=(SessionEvents | None, None))
    made = ticket(session=REPLAY, events=EVENTS)
    assert repr(made.session) == "SessionId('1:2')"
    assert made.events is EVENTS
    assert json.loads(made.model_dump_json()) == {"session": "1:2", "events": EVENTS.to_dict()}
    assert repr(ticket.model_validate_json('{"session": "1:2"}').session) == "SessionId('1:2')"
    for mode in ("validation", "serialization"):
        properties = ticket.model_json_schema(mode=mode)["properties"]
        assert properties["session"]["type"] == "string"
        assert {"type": "object", "title": "SessionEvents"} in properties["events"]["anyOf"]


def test_pydantic_rejects_what_is_neither() -> None:
    with pytest.raises(pydantic.ValidationError, match="'a b' is not a session id: it contains white space"):
        pydantic.TypeAdapter(SessionId).validate_python("a b")
    with pytest.raises(pydantic.ValidationError, match="should be an instance of SessionEvents"):
        pydantic.TypeAdapter(SessionEvents).validate_python([])


def test_pydantic_has_lists_of_models() -> None:
    adapter = pydantic.TypeAdapter(list[Session])
    assert json.loads(adapter.dump_json([Session(session_id="2")]))[0]["session_id"] == "2"


def _app() -> Any:
    app = fastapi.FastAPI()

    async def events(session: SessionId, other: SessionId | None = None) -> SessionEvents:
        assert type(session) is SessionId
        return SessionEvents(other or session, list(EVENTS))

    async def page() -> Page[Session]:
        return Page(items=(Session(session_id="2"),), next_token="t")

    async def sessions() -> list[Session]:
        return [Session(session_id="2")]

    async def stats() -> Stats:
        return Stats(requests=3)

    async def untyped():  # type: ignore[no-untyped-def]  # noqa: ANN202  (FastAPI reads it)
        return {"events": EVENTS}

    app.get("/events/{session}")(events)
    for endpoint in (page, sessions, stats, untyped):
        app.get(f"/{endpoint.__name__}")(endpoint)
    return app


def get(app: Any, target: str) -> tuple[int, Any]:
    """Send a request to an ASGI application; return the status and the decoded body."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": path,
        "raw_path": path.encode(), "query_string": query.encode(), "headers": [], "scheme": "http", "root_path": "",
        "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent))


def test_fastapi_takes_ids_as_parameters_and_models_as_responses() -> None:
    app = _app()
    assert get(app, "/events/1:2") == (200, EVENTS.to_dict())
    assert get(app, "/events/1:2?other=3!4")[1]["session_id"] == "3:4"
    assert get(app, "/page")[1]["items"][0]["session_id"] == "2"
    assert get(app, "/sessions")[1][0]["session_id"] == "2"
    assert get(app, "/stats")[1]["requests"] == 3
    status, problem = get(app, "/events/a b")
    assert (status, problem["detail"][0]["loc"]) == (422, ["path", "session"])
    assert problem["detail"][0]["ctx"] == {"error": {}}  # none of the error's own fields
    schema = get(app, "/openapi.json")[1]["paths"]["/events/{session}"]["get"]
    assert schema["parameters"][0]["schema"]["type"] == "string"


def test_fastapi_does_not_leave_events_out_of_a_response_without_a_type() -> None:
    with pytest.raises(ValueError):
        get(_app(), "/untyped")


def test_trio_gets_a_clear_word() -> None:
    async def client() -> None:
        async with FullStoryClient("na1.key"):
            pass

    async def job() -> None:
        async with Job.open("job"):
            pass

    for opening in (client, job):
        with pytest.raises(ClientStateError, match="with trio, call it inside trio_asyncio"):
            trio.run(opening)
