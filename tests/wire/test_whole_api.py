"""Every operation beyond lists, events and plain summaries, against the sandbox in both wire forms."""

from __future__ import annotations

import json
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, cast

import attrs
import pytest
from yarl import URL

from fullstory_async import (
    AuthenticationError,
    BadRequestError,
    CacheOptions,
    ClientConfig,
    ConfigurationError,
    ContextEvent,
    ContextOptions,
    EventOptions,
    FullStoryClient,
    LLMOptions,
    MediaOptions,
    NotFoundError,
    PermissionDeniedError,
    ProfileConfiguration,
    ProtocolError,
    RateLimit,
    ResponseSchema,
    RetryPolicy,
    SessionContext,
    SessionEvent,
    SessionId,
    SliceOptions,
    UnknownEventTypeWarning,
)
from fullstory_async.amounts import counted
from fullstory_async.sandbox import Fault, Sandbox
from fullstory_async.sandbox.state import Wire


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[tuple[Sandbox, FullStoryClient]]:
    async with Sandbox(**{"users": 3, "sessions": 30, "mean_events": 60, **settings}) as sandbox:
        config = ClientConfig(
            api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(1000, 1000),
            retry=RetryPolicy(wait_initial=0.05, wait_jitter=0.05),
        )  # fmt: skip
        async with FullStoryClient(config=config) as client:
            yield sandbox, client


def long_web_session(sandbox: Sandbox) -> SessionId:
    world = sandbox._service.world
    return next(s.id for s in world.sessions.values() if s.event_count > 40 and not s.mobile)


@pytest.mark.smoke
@pytest.mark.parametrize("wire", ["live", "spec"])
async def test_context(wire: Wire) -> None:
    async with opened(wire=wire) as (sandbox, client):
        one = long_web_session(sandbox)
        context = await client.sessions.context(one)
        assert sandbox.activations == 1
        assert context.session_id == one
        assert context.user is not None
        assert context.user.email is not None
        assert context.org is not None
        assert context.org.org_id == "SANDBOX"
        assert context.location is not None
        assert context.location.city
        assert context.device is not None
        assert context.device.screen_size
        assert context.device.screen_size.width_pixels == 1920
        assert context.session_url == f"{sandbox.url}/ui/SANDBOX/session/{one}"
        events = [event for page in context.pages for event in page.events]
        assert len(events) > 10
        assert all(event.type and event.description and event.timestamp for event in events)
        text = context.to_markdown(max_characters=2000)
        assert len(text) <= 2000
        assert f"# Session {one}" in text


def at(event: ContextEvent | SessionEvent) -> datetime:
    assert event.timestamp is not None
    return event.timestamp


async def contexts(
    client: FullStoryClient, one: SessionId, **options: Any
) -> tuple[SessionContext, list[ContextEvent]]:
    context = await client.sessions.context(one, **options)
    return context, [event for page in context.pages for event in page.events]


async def test_every_option_of_context_has_an_effect() -> None:
    async with opened() as (sandbox, client):
        one = long_web_session(sandbox)
        _, everything = await contexts(client, one)
        start, middle = at(everything[0]), at(everything[len(everything) // 2])

        async def events(**options: Any) -> list[ContextEvent]:
            return (await contexts(client, one, **options))[1]

        assert 0 < len(await events(slice=SliceOptions(event_limit=5))) <= 5
        last = await events(slice=SliceOptions(mode="LAST", event_limit=5))
        assert last == everything[-len(last) :]
        assert {
            at(e) - start < timedelta(seconds=30)
            for e in await events(slice=SliceOptions(duration_limit_ms=20_000))
        } == {True}
        assert all(
            at(e) >= middle
            for e in await events(slice=SliceOptions(mode="TIMESTAMP", start_timestamp=middle))
        )
        assert all(at(e) < middle for e in await events(slice=SliceOptions(end_timestamp=middle)))
        assert {e.type for e in await events(events=EventOptions(include_types=["navigate", "click"]))} == {
            "navigate",
            "click",
        }
        assert "click" not in {e.type for e in await events(events=EventOptions(exclude_types=["click"]))}
        names = {"Added to Cart", "Coupon Applied", "Video Played"}
        assert names & {e.type for e in everything}
        assert not names & {e.type for e in await events(events=EventOptions(exclude_api_events=True))}
        assert names & {e.type for e in await events(events=EventOptions(include_types=sorted(names)))}
        assert not any(e.timestamp for e in await events(events=EventOptions(exclude_event_timestamps=True)))
        assert any("defined_event" in e.properties for e in everything)
        assert not any(
            "defined_event" in e.properties
            for e in await events(events=EventOptions(exclude_defined_events=True))
        )
        assert not any(
            "selector" in e.properties for e in await events(events=EventOptions(exclude_selectors=True))
        )
        short = await events(events=EventOptions(trim_to_last_n_selectors=1))
        assert all(" > " not in e.properties.get("selector", "") for e in short)
        assert any(
            "div#app" in e.properties.get("selector", "")
            for e in await events(events=EventOptions(include_selector_tags=True))
        )
        assert not any("div#app" in e.properties.get("selector", "") for e in everything)
        quiet = ContextOptions(exclude_descriptions=True)
        assert not any(e.description for e in await events(context=quiet))
        assert all(
            e.description for e in await events(context=quiet, events=EventOptions(include_descriptions=True))
        )
        shots = await events(
            media=MediaOptions(
                include_screenshots=True, full_page_screenshots=True, crop_screenshot_to_selector=True
            )
        )
        assert {e.type for e in shots if e.screenshot_url} == {"navigate", "click"}
        assert all("crop=true&full_page=true" in e.screenshot_url for e in shots if e.screenshot_url)
        only = await events(media=MediaOptions(include_screenshots=True, screenshot_event_types=["navigate"]))
        assert {e.type for e in only if e.screenshot_url} == {"navigate"}
        plain, _ = await contexts(client, one)
        numbered, _ = await contexts(
            client,
            one,
            events=EventOptions(include_tab_index=True),
            cache=CacheOptions(enable_event_cache=True),
        )
        assert {page.tab for page in plain.pages} == {None}
        assert numbered.pages[0].tab == 1


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"include": ["org"]}, {"org"}), ({"exclude": ["org", "user"]}, {"location", "device"}),
        ({"exclude_org_context": True, "exclude_location": True}, {"user", "device"}),
        ({"exclude_user_context": True, "exclude_device": True}, {"org", "location"}),
        ({"include": ["user"], "exclude_device": True}, {"user"}), ({"exclude": ["org"], "exclude_device": True}, {"user", "location", "device"}),
    ],
)  # fmt: skip
async def test_what_is_told_besides_the_events(options: dict[str, Any], left: set[str]) -> None:
    async with opened(sessions=3, mean_events=5) as (sandbox, client):
        context = await client.sessions.context(sandbox.session_ids[0], context=ContextOptions(**options))
        parts = {name for name in ("org", "user", "location", "device") if getattr(context, name) is not None}
        assert parts == left


@pytest.mark.smoke
async def test_many_contexts_with_the_same_options() -> None:
    async with opened() as (sandbox, client):
        async with client.sessions.contexts_many(
            sandbox.session_ids, slice=SliceOptions(event_limit=1)
        ) as results:
            found = {outcome.session_id: outcome.value async for outcome in results if outcome.value}
        assert set(found) == set(sandbox.session_ids)
        assert all(sum(len(page.events) for page in each.pages) <= 1 for each in found.values())
        assert sandbox.activations == len(found)


async def test_overrides_follow_the_merge_rules() -> None:
    async with opened() as (sandbox, client):
        one = long_web_session(sandbox)
        profile = await client.profiles.create(
            "base",
            ProfileConfiguration(
                llm=LLMOptions(pre_prompt="From the profile"),
                events=EventOptions(include_types=["navigate"], exclude_api_events=True),
                slice=SliceOptions(event_limit=40),
            ),
        )

        async def text(overrides: ProfileConfiguration) -> str:
            return (
                await client.sessions.summary(one, config_profile_id=profile.id, overrides=overrides)
            ).text

        plain = (await client.sessions.summary(one, config_profile_id=profile.id)).text
        assert "From the profile" in plain
        assert " 0 clicks" in plain
        appended = await text(ProfileConfiguration(events=EventOptions(include_types=["click"])))
        assert " 0 clicks" not in appended  # an array is appended to the profile's
        assert "From the profile" in appended
        replaced = await text(ProfileConfiguration(llm=LLMOptions(pre_prompt="From the call")))
        assert "From the call" in replaced
        assert "From the profile" not in replaced
        empty = ProfileConfiguration(
            llm=LLMOptions(pre_prompt=""), slice=SliceOptions(event_limit=0),
            events=EventOptions(include_types=[], exclude_api_events=False),
        )  # fmt: skip
        assert await text(empty) == plain  # an empty value changes nothing
        sent = json.loads(sandbox.requests[-1].body)
        assert sent == {
            "config_profile": profile.id, "llm": {"pre_prompt": ""}, "slice": {"event_limit": 0},
            "events": {"include_types": [], "exclude_api_events": False},
        }  # fmt: skip


async def test_a_prompt_and_a_schema_without_a_profile() -> None:
    @attrs.define
    class Verdict:
        summary: str
        errors: int
        needs_follow_up: bool
        mood: str | None = None
        steps: list[str] = attrs.Factory(list)

    schema = ResponseSchema.from_type(Verdict)
    async with opened() as (sandbox, client):
        overrides = ProfileConfiguration(
            llm=LLMOptions(post_prompt="Be brief.", temperature=0.1, response_schema=schema)
        )
        summary = await client.sessions.summary(sandbox.session_ids[0], overrides=overrides)
        assert isinstance(summary.as_type(Verdict), Verdict)
        assert "Be brief." in summary.as_type(Verdict).summary
        assert summary.response_schema == schema.to_dict()
        assert summary.summary is None
        assert json.loads(summary.text) == summary.response


@pytest.mark.parametrize("overrides", [None, ProfileConfiguration(llm=LLMOptions(pre_prompt="x"))])
async def test_a_summary_until_a_time(overrides: ProfileConfiguration | None) -> None:
    async with opened() as (sandbox, client):
        one = long_web_session(sandbox)
        events = await client.sessions.events(one)
        middle = at(events[len(events) // 2])
        summary = await client.sessions.summary(one, end_timestamp=middle, overrides=overrides)
        until = sum(at(event) < middle for event in events)
        assert f"with {until} events" in summary.text
        assert sandbox.requests[-1].method == ("GET" if overrides is None else "POST")
        async with client.sessions.summaries_many(
            [one], end_timestamp=middle, overrides=overrides
        ) as results:
            assert [outcome.value.text async for outcome in results if outcome.value] == [summary.text]


async def test_fifty_summaries_at_once_cost_one_activation() -> None:
    import asyncio

    async with opened(latency=0.1) as (sandbox, client):
        one = sandbox.session_ids[0]
        found = await asyncio.gather(*(client.sessions.summary(one) for _ in range(50)))
        assert len({each.text for each in found}) == 1
        assert (sandbox.activations, client.stats.activations) == (1, 1)


@pytest.mark.smoke
async def test_profiles() -> None:
    async with opened() as (sandbox, client):
        listed = [profile async for profile in client.profiles.list()]
        assert [profile.id for profile in listed] == ["support", "sales", "triage"]
        schema = ResponseSchema.from_json_schema({"type": "object", "properties": {"n": {"type": "integer"}}})
        configuration = ProfileConfiguration(
            llm=LLMOptions(pre_prompt="p", post_prompt="q", temperature=0.2, response_schema=schema),
            slice=SliceOptions(mode="LAST", event_limit=200, duration_limit_ms=600_000),
            context=ContextOptions(exclude=["org"]),
            events=EventOptions(include_types=["navigate", "click"]),
            cache=CacheOptions(enable_event_cache=True),
        )
        made = await client.profiles.create("Mine", configuration)
        assert (made.name, made.configuration) == ("Mine", configuration)
        assert await client.profiles.get(made.id) == made
        changed = await client.profiles.update(
            made.id, configuration=ProfileConfiguration(slice=SliceOptions(event_limit=5))
        )
        assert changed.configuration.slice == SliceOptions(
            mode="LAST", event_limit=5, duration_limit_ms=600_000
        )
        assert changed.configuration.llm == configuration.llm
        assert (await client.profiles.update(made.id, name="Other")).name == "Other"
        copy = await client.profiles.create("Copy", changed.configuration)
        assert copy.configuration == changed.configuration
        assert copy.id != made.id
        await client.profiles.delete(made.id)
        with pytest.raises(NotFoundError, match="no such profile"):
            await client.profiles.get(made.id)
        with pytest.raises(NotFoundError):
            await client.sessions.summary(sandbox.session_ids[0], config_profile_id=made.id)
        assert sandbox.activations == 0


async def test_profiles_come_page_by_page() -> None:
    async with opened() as (sandbox, client):
        for n in range(120):
            await client.profiles.create(f"P{n}", ProfileConfiguration())
        listed = [profile.name async for profile in client.profiles.list()]
        assert len(listed) == 123
        asked = [request.query for request in sandbox.requests if request.operation == "profiles"]
        assert asked == [{"limit": "100"}, {"limit": "100", "pagination_token": "100"}]
        assert len([profile async for profile in client.profiles.list(limit=5)]) == 5
        first = await client.profiles.list()
        assert (first.received, len(first)) == (100, 100)
        rest = [len(page) async for page in client.profiles.list().pages(first.next_token)]
        assert rest == [23]


async def test_writes_are_sent_once_and_reads_again() -> None:
    async with opened() as (sandbox, client):
        for operation, call in (
            ("create profile", lambda: client.profiles.create("x", ProfileConfiguration())),
            ("update profile", lambda: client.profiles.update("support", name="y")),
            ("delete profile", lambda: client.profiles.delete("sales")),
        ):
            sandbox.inject(Fault.drop(), operation=operation)
            with pytest.raises(ProtocolError) as caught:
                await call()
            assert (caught.value.sent, caught.value.attempts, caught.value.may_have_cost) == (True, 1, False)
        sandbox.inject(Fault.drop(), operation="profiles")
        sandbox.inject(Fault.status(503), operation="profile")
        sandbox.inject(Fault.drop(), operation="whoami")
        names = [profile.name async for profile in client.profiles.list()]
        assert names == ["y", "Triage", "x"]  # all three had been done
        assert (await client.profiles.get("support")).name == "y"
        assert (await client.whoami()).role == "ADMIN"


@pytest.mark.smoke
async def test_whoami() -> None:
    async with opened() as (sandbox, client):
        owner = await client.whoami()
        assert (owner.org_id, owner.role, owner.email) == ("SANDBOX", "ADMIN", "admin@example.com")
        assert sandbox.activations == 0
        config = attrs.evolve(client.config, api_key="na1.wrong")
    async with Sandbox(users=1, sessions=1) as sandbox:
        async with FullStoryClient(config=attrs.evolve(config, base_url=sandbox.url)) as wrong:
            with pytest.raises(AuthenticationError):
                await wrong.whoami()


async def test_a_403_names_the_role() -> None:
    async with opened() as (sandbox, client):
        one = sandbox.session_ids[0]
        calls: dict[str, list[Awaitable[object]]] = {
            "Architect or Admin": [
                client.sessions.events(one), client.sessions.context(one), client.sessions.summary(one), client.profiles.list(),
                client.profiles.get("support"), client.profiles.update("support", name="x"), client.profiles.delete("support"),
                client.profiles.create("x", ProfileConfiguration()),
            ],
            "Standard": [client.sessions.list(uid="u-1")],
        }  # fmt: skip
        sandbox.inject(Fault.status(403), times=None)
        for role, pending in calls.items():
            for call in pending:
                with pytest.raises(
                    PermissionDeniedError, match=f"probably lacks the role {role}; whoami shows"
                ):
                    await call


async def test_one_session_by_its_uid() -> None:
    async with opened() as (sandbox, client):
        world = sandbox._service.world
        session = next(iter(world.sessions.values()))
        found = [each.id async for each in client.sessions.list(session_uid=session.session_uid, limit=None)]
        assert found == [session.id]
        assert len(await client.sessions.list(session_uid="nobody's")) == 0
        others: list[dict[str, Any]] = [{"uid": "u-1"}, {"email": "ada@example.com"}]
        for other in others:
            with pytest.raises(ConfigurationError, match="excludes email and uid"):
                client.sessions.list(session_uid="x", **other)
        assert sandbox.requests[0].query == {"session_uid": session.session_uid, "limit": "100"}


async def test_the_event_cache() -> None:
    async with opened() as (sandbox, client):
        one = sandbox.session_ids[0]
        for flag, sent in (
            (None, {}),
            (True, {"enable_event_cache": "true"}),
            (False, {"enable_event_cache": "false"}),
        ):
            events = await client.sessions.events(one, enable_event_cache=flag)
            assert sandbox.requests[-1].query == sent
            assert len(events)
        async with client.sessions.events_many([one], enable_event_cache=True) as results:
            assert [outcome.value async for outcome in results] == [events]
        assert sandbox.requests[-1].query == {"enable_event_cache": "true"}
        assert sandbox.activations == 4  # from the cache or not


NAIVE = datetime(2026, 5, 4)  # noqa: DTZ001


async def test_bad_input_is_refused_before_any_request() -> None:
    async with opened() as (sandbox, client):
        one = sandbox.session_ids[0]
        sessions: Any = client.sessions  # untyped, as most arguments are of a wrong type
        profiles: Any = client.profiles
        calls: list[tuple[Callable[[], Awaitable[object]], str]] = [
            (lambda: sessions.events(one, enable_event_cache="yes"), "enable_event_cache must be a boolean"),
            (lambda: sessions.context(one, slice=SliceOptions(mode="TIMESTAMP")), r"slice\.start_timestamp"),
            (lambda: sessions.context(one, context=ContextOptions(include=["org"], exclude=["org"])), "both name"),
            (lambda: sessions.context(one, slice={"mode": "LAST"}), "slice must be"),
            (lambda: sessions.summary(one, end_timestamp=NAIVE), r"end_timestamp has no time zone.*tzinfo="),
            (lambda: sessions.summary(one, overrides={"llm": {}}), "overrides must be a ProfileConfiguration"),
            (lambda: sessions.summary(one, overrides=ProfileConfiguration(slice=SliceOptions(mode="odd"))), r"slice\.mode"),
            (lambda: sessions.summary(one, config_profile_id=""), "config_profile_id"),
            (lambda: profiles.create("", ProfileConfiguration()), "name must be text"),
            (lambda: profiles.create("x", ProfileConfiguration(slice=SliceOptions(mode="odd"))), r"slice\.mode"),
            (lambda: profiles.create("x", None), "configuration must be"), (lambda: profiles.update("support"), "a name, a configuration with something set"),
            *((lambda bad=bad: profiles.get(bad), "profile's id") for bad in ("", ".", "..", "a/b", "a\nb", 5, None)),
        ]  # fmt: skip
        for call, said in calls:
            with pytest.raises(ConfigurationError, match=said):
                await call()
        for many in (sessions.summaries_many, sessions.contexts_many):
            with pytest.raises(ConfigurationError):
                many([one], **({"end_timestamp": NAIVE} if many == sessions.summaries_many else {"slice": 3}))
        for limit in (0, 2**63, 10**5000, -(10**5000)):  # Python refuses to write the last two
            with pytest.raises(ConfigurationError, match="limit"):
                profiles.list(limit=limit)
            with pytest.raises(ConfigurationError, match="limit"):
                sessions.list(uid="u", limit=limit)
        with pytest.raises(ConfigurationError, match="extra_query"):
            await sessions.events(one, extra_query={"q": 10**5000})
        assert sandbox.requests == []


async def test_warnings_point_to_the_caller() -> None:
    async with opened(sessions=3, mean_events=5) as (sandbox, client):
        one = sandbox.session_ids[0]
        odd = EventOptions(include_types=["rage_click"])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UnknownEventTypeWarning)
            await client.sessions.context(one, events=odd)
            await client.sessions.context(one, media=MediaOptions(screenshot_event_types=["rage_click"]))
            await client.sessions.summary(one, overrides=ProfileConfiguration(events=odd))
            client.sessions.contexts_many([one], events=odd)
        assert len(caught) == 4
        assert {warning.filename for warning in caught} == {__file__}


async def test_the_sandbox_refuses_what_the_service_would() -> None:
    import aiohttp

    async with Sandbox(users=1, sessions=1, mean_events=5) as sandbox:
        one = str(sandbox.session_ids[0]).replace(":", "%3A")
        asked = [
            ("POST", f"/v2/sessions/{one}/context", b"[]", "JSON object"), ("POST", f"/v2/sessions/{one}/context", b"{", "JSON object"),
            ("POST", f"/v2/sessions/{one}/context", b'{"slice": {"mode": "odd"}}', "slice.mode"),
            ("POST", f"/v2/sessions/{one}/context", b'{"slice": {"mode": 3}}', "slice.mode"), ("POST", f"/v2/sessions/{one}/summary", b'{"slice": {"event_limit": "x"}}', "event_limit"),
            ("POST", f"/v2/sessions/{one}/summary", b'{"config_profile": 3}', "config_profile"), ("POST", "/v2/visit_profile", b"{}", "name is required"),
            ("POST", "/v2/visit_profile", b'{"name": 3}', "name must be"), ("POST", "/v2/visit_profile/support", b'{"slice": {"event_limit": "x"}}', "event_limit"),
            ("GET", f"/v2/sessions/{one}/events?enable_event_cache=maybe", b"", "enable_event_cache"),
            ("GET", f"/v2/sessions/{one}/summary?end_timestamp=noon", b"", "end_timestamp"), ("GET", "/v2/visit_profile?limit=x", b"", "limit"),
            ("GET", "/v2/visit_profile?pagination_token=x", b"", "pagination_token"), ("GET", "/sessions/v2?session_uid=a&uid=b", b"", "session_uid"),
        ]  # fmt: skip
        async with aiohttp.ClientSession(headers={"Authorization": f"Basic {sandbox.api_key}"}) as session:
            for method, path, body, said in asked:
                url = URL(sandbox.url + path, encoded=True)
                async with session.request(method, url, data=body) as answer:
                    assert (answer.status, said in (await answer.json())["message"]) == (400, True), path
            url = URL(f"{sandbox.url}/v2/sessions/{one}/context", encoded=True)
            async with session.post(url, data=b'{"slice": {"duration_limit_ms": "5000"}}') as answer:
                assert answer.status == 200  # an int64 may come as text
        assert sandbox.activations == 1


async def test_bad_request_is_an_error_with_the_services_words() -> None:
    async with opened() as (sandbox, client):
        sandbox.inject(
            Fault.status(400, body=b'{"code": "invalid_field", "message": "no"}'), operation="context"
        )
        with pytest.raises(BadRequestError, match="invalid_field: no"):
            await client.sessions.context(sandbox.session_ids[0])


async def test_a_replay_page_is_for_everybody_and_escapes_everything() -> None:
    import aiohttp

    async with Sandbox(users=1, sessions=2, mean_events=40) as sandbox:
        world = sandbox._service.world
        evil = "<script>alert(1)</script>"
        session = next(iter(world.sessions.values()))
        cast("Any", world.sessions)[session.id] = attrs.evolve(
            session, user=attrs.evolve(session.user, name=evil, email=evil)
        )
        async with aiohttp.ClientSession() as anybody:
            async with anybody.get(f"{sandbox.url}/ui/SANDBOX/session/{session.id}") as answer:
                page = await answer.text()
                assert answer.status == 200
                assert answer.content_type == "text/html"
                assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
            async with anybody.get(f"{sandbox.url}/ui/SANDBOX/session/1:2") as answer:
                assert answer.status == 404
            async with anybody.get(sandbox.url) as answer:
                index, sandbox_url = await answer.text(), sandbox.url
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        assert f"<li>{counted(session.event_count, 'event')} in " in page
        assert "<script" not in index
        assert index.count("<tr") == 2
        assert f"{sandbox_url}/ui/SANDBOX/session/{session.id}" in index
        assert page.encode() == sandbox.replay_page(session.id)
        assert (sandbox.activations, sandbox.requests) == (0, [])
        with pytest.raises(ConfigurationError, match="no session"):
            sandbox.replay_page(SessionId("1:2"))
