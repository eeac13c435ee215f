"""What a client tells of its work: hooks, counters and spans, over real HTTP."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import attrs
import pytest
from aiohttp import web
from opentelemetry import baggage, context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from fullstory_async import (
    APITimeoutError,
    AuthenticationError,
    ClientConfig,
    ConfigurationError,
    FullStoryClient,
    Hooks,
    RateLimit,
    RequestJoined,
    RequestSent,
    RequestThrottled,
    ResponseReceived,
    RetryPlanned,
    RetryPolicy,
    ServerError,
)
from fullstory_async.http.call import Call
from fullstory_async.http.hooks import Observer
from fullstory_async.messages import Request
from fullstory_async.sandbox import Fault, Sandbox
from fullstory_async.sandbox.faults import CallNext, Exchange
from fullstory_async.telemetry import metering, tracing

EMAIL = "canary@example.com"
Told = RequestSent | ResponseReceived | RetryPlanned | RequestThrottled


def recording() -> tuple[list[Told], Hooks]:
    told: list[Told] = []
    return told, Hooks(
        on_request=told.append, on_response=told.append, on_retry=told.append, on_throttle=told.append
    )


@asynccontextmanager
async def opened(
    hooks: Hooks | Sequence[Hooks], **settings: Any
) -> AsyncIterator[tuple[Sandbox, FullStoryClient]]:
    settings = {
        "rate_limit": RateLimit(1000, 1000),
        "retry": RetryPolicy(wait_initial=0.01, wait_jitter=0),
        **settings,
    }
    async with Sandbox(users=2, sessions=6, mean_events=5) as sandbox:
        config = ClientConfig(**{"api_key": sandbox.api_key, "base_url": sandbox.url, **settings})
        async with FullStoryClient(config=config, hooks=hooks) as client:
            yield sandbox, client


async def test_every_request_is_told_of_and_so_is_what_became_of_it() -> None:
    told, hooks = recording()
    async with opened(hooks) as (sandbox, client):
        sandbox.inject(Fault.status(503), operation="list")
        sandbox.inject(Fault.status(429, headers={"Retry-After": "0"}), operation="events")
        await client.sessions.list(email=EMAIL)
        events = await client.sessions.events(sandbox.session_ids[0])
        stats, base_url = client.stats, sandbox.url

    server: dict[str, Any] = {"host": "127.0.0.1", "port": int(base_url.rpartition(":")[2])}
    listed = {"call": 1, "operation": "list", "method": "GET", "metered": False, **server}
    fetched = {"call": 2, "operation": "events", "method": "GET", "metered": True, **server}
    times: dict[str, Any] = {"seconds": 0.0, "body_bytes": 0}
    assert [
        attrs.evolve(each, waited=0.0, **(times if isinstance(each, ResponseReceived) else {}))
        for each in told
    ] == [
        RequestSent(**listed, attempt=1),
        ResponseReceived(**listed, attempt=1, status=503, error="ServerError"),
        RetryPlanned(**listed, attempt=1, error="ServerError", delay=0.01),
        RequestSent(**listed, attempt=2),
        ResponseReceived(**listed, attempt=2, status=200),
        RequestSent(**fetched, attempt=1),
        ResponseReceived(**fetched, attempt=1, status=429, error="RateLimitedError"),
        RequestThrottled(**fetched, attempt=1, pause=1.0),
        RetryPlanned(**fetched, attempt=1, error="RateLimitedError", delay=1.0),
        RequestSent(**fetched, attempt=2),
        ResponseReceived(**fetched, attempt=2, status=200, may_have_cost=True),
    ]
    answers = [each for each in told if isinstance(each, ResponseReceived)]
    assert all(each.seconds >= 0 and each.body_bytes > 0 for each in answers)
    assert answers[-1].body_bytes == len(events.raw)
    assert (stats.requests, stats.retries, stats.throttled, stats.activations) == (4, 2, 1, 1)
    assert stats.received_bytes == sum(each.body_bytes for each in answers)
    waits = [each.waited for each in told if type(each) is RequestSent]
    assert 1.0 <= stats.waited == pytest.approx(sum(waits))


async def test_requests_without_an_answer_are_told_of_once_too() -> None:
    told, hooks = recording()
    async with opened(hooks, read_timeout=0.2) as (sandbox, client):
        sandbox.inject(Fault.drop(), operation="events", session_id=sandbox.session_ids[0])
        sandbox.inject(Fault.stall(5), operation="events", times=None)
        lost = [client.sessions.events(each) for each in sandbox.session_ids[:2]]
        errors = await asyncio.gather(*lost, return_exceptions=True)
        call = asyncio.create_task(client.sessions.events(sandbox.session_ids[2]))
        while len(sandbox.requests) < 3:
            await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.wait([call])
    assert [type(error).__name__ for error in errors] == ["ProtocolError", "APITimeoutError"]
    ended = {each.call: (each.status, each.error) for each in told if isinstance(each, ResponseReceived)}
    assert ended == {1: (None, "ProtocolError"), 2: (None, "APITimeoutError"), 3: (None, "CancelledError")}
    assert len(told) == 6


async def test_a_stream_is_told_of_when_it_begins_and_counted_while_it_is_read() -> None:
    told, hooks = recording()
    async with opened(hooks) as (sandbox, client):
        whole = await client.sessions.events(sandbox.session_ids[0])
        before = client.stats.received_bytes
        async with aclosing(client.sessions.stream_events(sandbox.session_ids[0])) as events:
            assert [event.type async for event in events] == [event.type for event in whole]
        assert client.stats.received_bytes - before == len(whole.raw)
    assert [type(each) for each in told] == [RequestSent, ResponseReceived] * 2


async def test_a_hook_that_fails_is_logged_and_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: RequestSent | ResponseReceived) -> None:
        raise RuntimeError(f"no {type(event).__name__}")

    async with opened(Hooks(on_request=fail, on_response=fail)) as (sandbox, client):
        with caplog.at_level(logging.ERROR):
            assert await client.sessions.events(sandbox.session_ids[0])
    assert [record.message for record in caplog.records] == [
        "the hook for RequestSent failed",
        "the hook for ResponseReceived failed",
    ]


class Called:
    async def __call__(self, event: object) -> None:
        """Be what a hook can't be: nobody would await it."""

    async def method(self, event: object) -> None:
        """Be it too."""


@pytest.mark.parametrize(
    "wrong", ["text", 5, asyncio.sleep, Called(), Called().method, functools.partial(asyncio.sleep, 0)]
)
def test_hooks_are_plain_functions(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="on_retry must be a plain function"):
        Hooks(on_retry=wrong)
    with pytest.raises(ConfigurationError, match="hooks must be Hooks"):
        FullStoryClient("na1.key", hooks=wrong)


def measured(reader: InMemoryMetricReader) -> dict[str, list[tuple[dict[str, Any], Any]]]:
    """Return the points of each instrument: attributes, and a counter's value or a histogram's count."""
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: [
            (dict(point.attributes or {}), getattr(point, "value", None) or getattr(point, "count", None))
            for point in metric.data.data_points
        ]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


async def test_metrics_beside_spans() -> None:
    reader, exporter, provider = InMemoryMetricReader(), InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    meter = MeterProvider([reader]).get_meter("test")
    async with opened((tracing(provider.get_tracer("test")), metering(meter))) as (sandbox, client):
        sandbox.inject(Fault.status(429, headers={"Retry-After": "0"}), operation="events")
        sandbox.inject(Fault.status(503, charged=True), operation="context")
        await client.sessions.events(sandbox.session_ids[0])
        with pytest.raises(ServerError):
            await client.sessions.context(sandbox.session_ids[0])
        stats, base_url = client.stats, sandbox.url
    found = measured(reader)
    # the conventions require the server
    server = {"server.address": "127.0.0.1", "server.port": int(base_url.rpartition(":")[2])}
    about = {"fullstory.operation": "events", "http.request.method": "GET", **server}
    assert sorted(found["http.client.request.duration"], key=str) == sorted(
        [
            (about | {"http.response.status_code": 429, "error.type": "RateLimitedError"}, 1),
            (about | {"http.response.status_code": 200}, 1),
            (
                {"fullstory.operation": "context", "http.request.method": "POST", "http.response.status_code": 503,
                 "error.type": "ServerError", **server}, 1,
            ),
        ],
        key=str,
    )  # fmt: skip
    assert found["fullstory.client.throttled"] == [({"fullstory.operation": "events"}, 1)]
    assert found["fullstory.client.activations"] == [
        ({"fullstory.operation": "events", "fullstory.at_risk": False}, 1),
        ({"fullstory.operation": "context", "fullstory.at_risk": True}, 1),
    ]
    assert sum(count for _, count in found["fullstory.client.activations"]) == stats.spent
    waits = found["fullstory.client.wait.duration"]
    assert {about["fullstory.operation"]: count for about, count in waits} == {"events": 2, "context": 1}
    spans = exporter.get_finished_spans()
    assert len(spans) == 3
    assert all(server.items() <= dict(span.attributes or {}).items() for span in spans)


@pytest.mark.parametrize(
    ("base_url", "host", "port"),
    [
        ("https://api.fullstory.com", "api.fullstory.com", 443),
        ("https://API.eu1.fullstory.com:8443/x", "api.eu1.fullstory.com", 8443),
        ("http://[::1]", "::1", 80),
    ],
)
def test_an_event_names_the_server(base_url: str, host: str, port: int) -> None:
    told, hooks = recording()
    Observer([hooks], base_url).request_sent(Call(Request(operation="list", path="/"), None))
    [event] = told
    assert (event.host, event.port) == (host, port)


async def test_a_request_says_how_long_it_waited() -> None:
    told, hooks = recording()
    async with opened(hooks, retry=RetryPolicy(wait_initial=0.05, wait_jitter=0)) as (sandbox, client):
        sandbox.inject(Fault.status(503), operation="list")
        await client.sessions.list(uid="u-1")
    waits = [event.waited for event in told if type(event) is RequestSent]
    assert waits[0] == 0
    assert 0.04 < waits[1] <= client.stats.waited


async def test_a_hook_that_raises_is_no_end_for_the_next_hooks() -> None:
    def broken(event: RequestSent) -> dict[str, str]:
        raise ValueError("no")

    told, hooks = recording()
    first = Hooks(on_request=broken, on_response=broken, request_headers=broken)
    last = Hooks(request_headers=lambda _: {"X-Extra": "1"})
    async with opened([first, hooks, last]) as (_, client):
        await client.whoami()
    assert [type(event) for event in told] == [RequestSent, ResponseReceived]


async def test_spans_say_what_happened_and_nothing_of_whom() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    async with opened(tracing(tracer)) as (sandbox, client):
        sandbox.inject(Fault.status(503), operation="list")
        sandbox.inject(Fault.status(429, headers={"Retry-After": "0"}), operation="events")
        with tracer.start_as_current_span("the program") as outer:
            await client.sessions.list(email=EMAIL)
            await client.sessions.events(sandbox.session_ids[0])
        bad = FullStoryClient("na1.wrong-key", config=client.config, hooks=tracing(tracer))
        async with bad:
            with pytest.raises(AuthenticationError):
                await bad.whoami()
        session_ids = sandbox.session_ids

    *spans, whoami = [span for span in exporter.get_finished_spans() if span.name != "the program"]
    assert [
        (span.name, said.get("http.response.status_code"), said.get("error.type"),
         said.get("http.request.resend_count"), said["fullstory.metered"])
        for span in spans if (said := span.attributes)
    ] == [
        ("FullStory list", 503, "ServerError", None, False),
        ("FullStory list", 200, None, 1, False),
        ("FullStory events", 429, "RateLimitedError", None, True),
        ("FullStory events", 200, None, 1, True),
    ]  # fmt: skip
    assert all(span.kind is SpanKind.CLIENT for span in spans)
    assert all(span.parent and span.parent.span_id == outer.get_span_context().span_id for span in spans)
    assert whoami.attributes is not None
    assert (whoami.name, whoami.attributes["error.type"], whoami.parent) == (
        "FullStory whoami",
        "AuthenticationError",
        None,
    )
    (program,) = [span for span in exporter.get_finished_spans() if span.name == "the program"]
    assert [event.name for event in program.events] == [
        "fullstory.retry",
        "fullstory.throttled",
        "fullstory.retry",
    ]
    text = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert client.config.api_key is not None
    for secret in (EMAIL, "canary", client.config.api_key.reveal(), "na1.wrong-key", *session_ids):
        assert secret
        assert secret not in text


# What goes to the service, and what comes back


def spans_of(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def traced() -> tuple[InMemorySpanExporter, Tracer]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    assert isinstance(tracer, Tracer)
    return exporter, tracer


def context_of(span: ReadableSpan) -> SpanContext:
    found = span.get_span_context()
    assert found is not None
    return found


def traceparent(span: ReadableSpan) -> str:
    found = context_of(span)
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-01"


async def test_each_attempt_carries_the_context_of_its_span_and_no_baggage() -> None:
    exporter, tracer = traced()
    state = TraceState([("vendor", "7")])
    remote = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1), trace_state=state)
    async with opened(tracing(tracer)) as (sandbox, client):
        sandbox.inject(Fault.status(503), operation="list")
        outer = baggage.set_baggage("user", EMAIL, set_span_in_context(NonRecordingSpan(remote)))
        token = context.attach(outer)
        try:
            await client.sessions.list(uid="u-1")
            await client.sessions.events(sandbox.session_ids[0], extra_headers={"Traceparent": "mine"})
        finally:
            context.detach(token)
        headers = [request.headers for request in sandbox.requests]
    first, second, events = exporter.get_finished_spans()
    assert [each["traceparent"] for each in headers] == [traceparent(first), traceparent(second), "mine"]
    assert {each.get("tracestate") for each in headers} == {"vendor=7"}
    assert not [each for each in headers if "baggage" in each]
    assert (events.name, context_of(first).trace_id) == ("FullStory events", 1)


async def test_without_a_tracer_nothing_is_added_to_a_request() -> None:
    async with opened(tracing()) as (sandbox, client):  # the API alone records no span
        await client.whoami()
    assert not {"traceparent", "tracestate"} & sandbox.requests[0].headers.keys()


async def test_a_call_that_shared_a_request_has_a_span_that_links_to_it() -> None:
    exporter, tracer = traced()

    async def ask(client: FullStoryClient, name: str) -> None:
        with tracer.start_as_current_span(name):
            await client.sessions.summary(sandbox.session_ids[0])

    async with opened(tracing(tracer)) as (sandbox, client):
        sandbox.inject(Fault.status(429, headers={"Retry-After": "0"}), operation="summary")
        await asyncio.gather(*[ask(client, name) for name in ("first", "second", "third")])
        assert sandbox.activations == 1
        assert len(sandbox.requests) == 2
    _, sent = spans_of(exporter, "FullStory summary")
    joined = spans_of(exporter, "FullStory summary (shared request)")
    (first,), (second,), (third,) = (spans_of(exporter, name) for name in ("first", "second", "third"))
    assert sent.parent is not None
    assert sent.parent.span_id == context_of(first).span_id
    assert [span.parent and span.parent.span_id for span in joined] == [
        context_of(second).span_id,
        context_of(third).span_id,
    ]
    for span in joined:
        (link,) = span.links
        assert (link.context.trace_id, link.context.span_id) == (
            context_of(sent).trace_id,
            context_of(sent).span_id,
        )
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= sent.start_time  # type: ignore[operator]  # it waited through both attempts
        assert span.kind is SpanKind.INTERNAL


async def test_joining_is_told_of_however_it_ends() -> None:
    told: list[RequestJoined] = []
    async with opened(Hooks(on_join=told.append)) as (sandbox, client):
        sandbox.inject(Fault.stall(30), operation="summary", times=None)
        first = asyncio.create_task(client.sessions.summary(sandbox.session_ids[0]))
        while not sandbox.requests:
            await asyncio.sleep(0.01)
        second = asyncio.create_task(client.sessions.summary(sandbox.session_ids[0]))
        third = asyncio.create_task(client.sessions.summary(sandbox.session_ids[0], timeout=0.05))
        await asyncio.wait([third])
        for call in (second, first):
            call.cancel()
            await asyncio.wait([call])
        with pytest.raises(APITimeoutError):
            third.result()
    assert [(each.call, each.attempt, each.operation, each.error) for each in told] == [
        (1, 1, "summary", "APITimeoutError"),
        (1, 1, "summary", "CancelledError"),
    ]
    assert all(each.seconds > 0 for each in told)


async def test_only_headers_that_are_no_secrets_are_told() -> None:
    told: list[ResponseReceived] = []
    exporter, tracer = traced()
    sent = {
        "X-Request-Id": "r-1", "X-RateLimit-Remaining": "9", "RateLimit-Policy": "q=10", "Retry-After": "3",
        "Set-Cookie": f"user={EMAIL}", "Location": f"/{EMAIL}", "Server": "s", "X-User": EMAIL,
    }  # fmt: skip

    async def labelled(exchange: Exchange, call_next: CallNext) -> web.StreamResponse:
        response = await call_next()
        response.headers.update(sent)
        return response

    async with opened(Hooks(on_response=told.append)) as (sandbox, client):
        sandbox.inject(Fault("labelled", "Label the response.", labelled), times=None)
        await client.whoami()
    async with opened(tracing(tracer)) as (sandbox, client):
        sandbox.inject(Fault("labelled", "Label the response.", labelled), times=None)
        await client.whoami()
    shown = dict(told[0].headers)
    assert shown.pop("date")
    assert shown == {
        "x-request-id": "r-1", "x-ratelimit-remaining": "9", "ratelimit-policy": "q=10", "retry-after": "3"
    }  # fmt: skip
    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["http.response.header.x-request-id"] == ("r-1",)
    assert EMAIL not in span.to_json()


@pytest.mark.parametrize(
    "returned", [None, 5, {"Authorization": "Basic x"}, {"x": "a\r\nb: c"}, {"ä": "x"}, {5: "x"}]
)
async def test_headers_that_can_not_be_sent_are_left_out(
    returned: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(Hooks(request_headers=lambda _: returned)) as (sandbox, client):
        assert (await client.whoami()).email
    assert sandbox.requests[0].headers.keys() <= {"host", "accept", "accept-encoding", "user-agent"}
    failed = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert len(failed) == (returned is not None)
