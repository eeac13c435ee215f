"""The sandbox's own data: sessions, users and responses that a test brings itself."""

from __future__ import annotations

import json
from cProfile import Profile
from datetime import UTC, datetime
from typing import Any

import pytest

from fullstory_async import (
    ClientConfig,
    ConfigurationError,
    FullStoryClient,
    InvalidSessionId,
    NotFoundError,
    SessionEvent,
    SessionEvents,
    SessionId,
)
from fullstory_async.sandbox import Fault, Sandbox, SandboxSession, SandboxUser, Wire

GRACE = SandboxUser(email="grace@example.com", uid="g-1")
CLICKS: list[dict[str, Any]] = [
    {"event_type": "click", "event_properties": {"fs_rage_count": 4}},
    {"event_type": "crash"},
]
ID = "4611686018427387905:4611686018427387907"
DEVICE, SHORT = ID.split(":")


def client_of(sandbox: Sandbox) -> FullStoryClient:
    return FullStoryClient(config=ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url))


@pytest.mark.parametrize("wire", ["live", "spec"])
async def test_own_sessions_are_listed_fetched_and_summarised(wire: Wire) -> None:
    own = SandboxSession(user=GRACE, events=CLICKS, summary="She gave up.")
    async with Sandbox(sessions=[own, SandboxSession()], wire=wire) as sandbox, client_of(sandbox) as client:
        first, second = sandbox.session_ids
        assert sandbox.sessions_of(email="grace@example.com") == sandbox.sessions_of(uid="g-1") == [first]
        assert sandbox.sessions_of(email="ada@example.com") == [second]
        assert sandbox.sessions_of() == sandbox.sessions_of(email="") == []
        assert [each.id for each in await client.sessions.list(email="grace@example.com")] == [first]
        events = await client.sessions.events(first)
        assert [each.type for each in events] == ["click", "crash"]
        assert len(events.frustrations()) == 1
        assert (await client.sessions.summary(first, config_profile_id="support")).text == "She gave up."
        assert (await client.sessions.context(first)).pages
        assert list(await client.sessions.events(second)) == []
        assert sandbox.replay_page(first)


async def test_what_an_event_leaves_out_is_filled_in() -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    given: list[Any] = [
        {"event_type": "navigate", "event_time": when, "source_properties": {"url": {}, "user_agent": {}}},
        {"event_type": "click", "event_properties": {"target": None}, "view_id": None},
        {"type": "custom", "timestamp": "2026-01-02T03:05:00Z", "data": {"a": 1}},
        SessionEvent(type="custom", source_type="server"),
    ]
    session = SandboxSession(events=given, id=ID)
    async with Sandbox(sessions=[session]) as sandbox, client_of(sandbox) as client:
        events = list(await client.sessions.events(ID))
        assert {each.device_id for each in events} == {DEVICE}
        assert [each.session_id for each in events] == [*[SHORT] * 3, None]
        assert [str(each.timestamp)[11:19] for each in events] == [
            "03:04:05",
            "03:04:06",
            "03:05:00",
            "03:05:01",
        ]
        assert [each.source_type for each in events] == ["web", "web", "web", "server"]
        listed = await client.sessions.list(email="ada@example.com")
        assert listed[0].created == when
        context = await client.sessions.context(ID)
        assert sum(len(page.events) for page in context.pages) == 4


async def test_a_structured_summary_of_ones_own() -> None:
    session = SandboxSession(summary={"mood": "angry"}, id=ID)
    async with Sandbox(sessions=[session]) as sandbox, client_of(sandbox) as client:
        assert (await client.sessions.summary(ID)).response == {"mood": "angry"}


async def test_sessions_are_added_while_the_sandbox_runs() -> None:
    async with Sandbox(users=1, sessions=2) as sandbox, client_of(sandbox) as client:
        with pytest.raises(NotFoundError):
            await client.sessions.events(ID)
        assert sandbox.add_session(SandboxSession(id=ID, user=GRACE)) == SessionId(ID)
        assert list(await client.sessions.events(ID)) == []
        added = sandbox.add_session(SandboxSession(user=SandboxUser(email="ada@example.com")))
        assert added in sandbox.sessions_of(uid="u-1")
        assert [user.email for user in sandbox.users] == ["ada@example.com", "grace@example.com"]
        with pytest.raises(ConfigurationError, match="has a session .* already"):
            sandbox.add_session(SandboxSession(id=ID))
        with pytest.raises(ConfigurationError, match="must be a SandboxSession, not dict"):
            sandbox.add_session({"id": ID})  # type: ignore[arg-type]


@pytest.mark.parametrize("wire", ["live", "spec"])
async def test_a_recorded_response_is_replayed(wire: Wire) -> None:
    async with Sandbox(users=1, sessions=1, mean_events=50, wire=wire) as recorded:
        async with client_of(recorded) as client:
            events = await client.sessions.events(recorded.session_ids[0])
    name = recorded.session_ids[0]
    session = SandboxSession.from_response(events.raw, session_id=name if wire == "spec" else None)
    async with Sandbox(sessions=[session], wire=wire) as sandbox, client_of(sandbox) as client:
        replayed = await client.sessions.events(name)
        assert replayed == events
        assert json.loads(replayed.raw) == json.loads(events.raw)


def test_the_user_of_a_recorded_response() -> None:
    named = {"user_email": "grace@example.com", "user_id": "g-1", "user_display_name": "Grace"}
    body = json.dumps({"events": [{"event_type": "identify", "event_properties": named}]})
    found = SandboxUser(email="grace@example.com", uid="g-1", name="Grace")
    assert SandboxSession.from_response(body).user == found
    assert SandboxSession.from_response(body.encode(), user=GRACE).user == GRACE
    assert Sandbox(sessions=[SandboxSession.from_response(body)]).users[0].name == "Grace"


@pytest.mark.parametrize("body", ["", "[]", '{"summary": "x"}', '{"events": {}}', '{"events": [1]}', b"\xff"])
def test_what_is_no_recorded_response_is_refused(body: str | bytes) -> None:
    with pytest.raises(ConfigurationError):
        SandboxSession.from_response(body)


async def test_canned_responses_are_checked_and_charged_as_any_other() -> None:
    session = SandboxSession(id=ID, events=CLICKS)
    async with Sandbox(sessions=[session]) as sandbox, client_of(sandbox) as client:
        kept = await client.sessions.context(ID)
        sandbox.respond("summary", ID, "All went well.")
        sandbox.respond("events", ID, b'{"events": [{"event_type": "copy"}]}')
        sandbox.respond("context", ID, {"context_data": {"pages": []}})
        assert (await client.sessions.summary(ID)).text == "All went well."
        assert [each.type for each in await client.sessions.events(ID)] == ["copy"]
        assert list((await client.sessions.context(ID)).pages) == []
        sandbox.respond("context", ID, kept)
        assert await client.sessions.context(ID) == kept
        sandbox.assert_paid(5)
        sandbox.inject(Fault.status(404), operation="summary")
        with pytest.raises(NotFoundError):
            await client.sessions.summary(ID)


@pytest.mark.parametrize(
    ("operation", "session_id", "body", "message"),
    [
        ("list", ID, {}, "only events, summary, context"),
        ("events", "1:2", {}, "no session 1:2"),
        ("events", ID, "text", "must be bytes or an object"),
        ("events", ID, SessionEvents(ID, []), "no response body"),
        ("summary", ID, object(), "can't be encoded as JSON"),
    ],
)
def test_responses_that_cannot_be_sent_are_refused(
    operation: Any, session_id: str, body: object, message: str
) -> None:
    sandbox = Sandbox(sessions=[SandboxSession(id=ID)])
    with pytest.raises(ConfigurationError, match=message):
        sandbox.respond(operation, session_id, body)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"events": "click"}, "must be a list of dicts"),
        ({"events": ["click"]}, "event 1 must be a dict or a SessionEvent, not str"),
        ({"events": [*CLICKS, {}]}, "event 3 needs an event_type"),
        ({"events": [{"event_type": "click", "event_properties": []}]}, "event_properties must be a dict"),
        ({"events": [{"event_type": "click", "event_time": "noon"}]}, "with its offset"),
        ({"events": [{"event_type": "click", "event_time": "2026-01-02T03:04:05"}]}, "with its offset"),
        ({"id": "12"}, "must be a pair"),
        ({"summary": 5}, "summary must be a text or a dict"),
        ({"created": datetime(2026, 1, 2)}, "created"),  # noqa: DTZ001
        ({"user": "ada@example.com"}, "user must be a SandboxUser"),
    ],
)
def test_sessions_that_the_service_would_not_have_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SandboxSession(**fields)


def test_other_own_data_that_is_refused() -> None:
    with pytest.raises(InvalidSessionId):
        SandboxSession(id="no id")
    with pytest.raises(ConfigurationError, match="needs an email, a uid, or both"):
        SandboxUser()
    with pytest.raises(ConfigurationError, match="email must be a text that is not empty"):
        SandboxUser(email="")
    for sessions in ("12", None, 1.5j):
        with pytest.raises(ConfigurationError, match="the sandbox's sessions must be"):
            Sandbox(sessions=sessions)  # type: ignore[arg-type]


async def test_requests_are_selected_and_payments_listed() -> None:
    async with Sandbox(sessions=[SandboxSession(id=ID), SandboxSession()]) as sandbox:
        async with client_of(sandbox) as client:
            sandbox.assert_paid(0)
            for name in sandbox.session_ids:
                await client.sessions.events(name)
            await client.sessions.summary(ID)
            await client.whoami()
        assert [each.session_id for each in sandbox.requests.of("events")] == sandbox.session_ids
        assert [each.operation for each in sandbox.requests.of(session_id=ID)] == ["events", "summary"]
        assert len(sandbox.requests.of("summary", session_id=ID)) == 1
        assert sandbox.requests.of() == list(sandbox.requests)
        with pytest.raises(ConfigurationError, match="no operation 'event'"):
            sandbox.requests.of("event")
        with pytest.raises(AssertionError) as caught:
            sandbox.assert_paid(2)
    other = next(each for each in sandbox.session_ids if each != ID)
    assert str(caught.value).splitlines()[0] == "2 activations expected, 3 charged:"
    assert set(str(caught.value).splitlines()[1:]) == {
        f"  events {ID}: 1",
        f"  events {other}: 1",
        f"  summary {ID}: 1",
    }


def test_many_sessions_take_time_in_proportion_to_their_number() -> None:
    def calls(number: int) -> int:
        users = [SandboxUser(email=f"user{n}@example.com") for n in range(number)]
        sessions = [SandboxSession(user=user) for user in (*users, *users)]
        with Profile(builtins=True) as profile:
            sandbox = Sandbox(sessions=sessions)
        assert len(sandbox.users) == number
        assert len(sandbox.session_ids) == 2 * number
        assert len(sandbox.sessions_of(email="user0@example.com")) == 2
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(400) < 5 * calls(100)


def test_sessions_of_one_list_follow_one_another_and_join_their_users() -> None:
    early = datetime(2026, 1, 1, tzinfo=UTC)
    both = SandboxUser(email="ada@example.com", uid="a-1")
    sandbox = Sandbox(
        sessions=[
            SandboxSession(user=both),
            SandboxSession(user=SandboxUser(uid="a-1"), created=early),
            SandboxSession(user=SandboxUser(email="ada@example.com")),
            SandboxSession(user=SandboxUser(email="ada@example.com", uid="a-2")),
        ]
    )
    added = sandbox.add_session(SandboxSession(user=SandboxUser(uid="a-1")))
    assert [each.uid for each in sandbox.users] == ["a-1", "a-2"]
    ids = sandbox.session_ids
    assert sandbox.sessions_of(uid="a-1") == [ids[0], ids[1], ids[2], added]
    assert ids.index(added) == 4
    with pytest.raises(ConfigurationError, match=f"the sandbox has a session {ID} already"):
        Sandbox(sessions=[SandboxSession(id=ID), SandboxSession(id=ID)])


def test_a_replay_has_the_summary_on_top() -> None:
    sandbox = Sandbox(
        sessions=[SandboxSession(summary="She left <at> the checkout.", events=[{"event_type": "click"}])]
    )
    generated = sandbox.add_session(SandboxSession(events=[{"event_type": "click"}]))
    structured = sandbox.add_session(SandboxSession(summary={"mood": "angry"}))
    found = [sandbox.replay_page(each).decode() for each in (sandbox.session_ids[0], generated, structured)]
    texts = [page.partition('<div class="summary">')[2].partition("</div>")[0] for page in found]
    assert texts[0] == "She left &lt;at&gt; the checkout."
    assert "with 1 event, among them 1 click" in texts[1]
    assert texts[2] == "{&quot;mood&quot;: &quot;angry&quot;}"
