"""OpenTelemetry: spans, one per attempt and a child of the program's current span, and metrics.

Each request carries its span's context (``traceparent`` and ``tracestate``), never the program's baggage,
which may hold anything. A call that shared the request of another call gets a span of its own, with a link to
the request's.

Spans follow OpenTelemetry's conventions for HTTP clients where there is one (``http.request.method``,
``server.address``, ``server.port``, ``http.response.status_code``, ``http.request.resend_count``,
``http.response.body.size``, ``error.type``), and add the operation and whether it is metered. URLs are left
out on purpose: they hold session ids and e-mail addresses, and traces are kept for long and read by many.
Error messages are left out too, as a service may quote either.

`metering` measures the same requests as metrics, which have no session either.

Requires the extra ``otel``, which installs OpenTelemetry's API only; without its SDK, all of it is discarded.
"""

from __future__ import annotations

import time
from inspect import signature
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fullstory_async._version import __version__
from fullstory_async.http.hooks import (
    Hooks,
    RequestJoined,
    RequestSent,
    RequestThrottled,
    ResponseReceived,
    RetryPlanned,
)
from fullstory_async.response_info import REQUEST_ID_HEADERS

__all__ = ["metering", "tracing"]


_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
"""Seconds: those of OpenTelemetry's conventions, and more for summaries and for waits."""


def tracing(tracer: trace.Tracer | None = None) -> Hooks:
    """Return hooks that create spans: ``FullStoryClient(hooks=tracing())``.

    Create new hooks for each client.

    Args:
        tracer: creates the spans; by default one of the global provider's.
    """
    spans = _Spans(tracer or trace.get_tracer("fullstory_async", __version__))
    return Hooks(
        on_request=spans.start,
        on_response=spans.end,
        on_retry=spans.add_retry,
        on_throttle=spans.add_throttling,
        on_join=spans.add_join,
        request_headers=spans.headers,
    )


def metering(meter: metrics.Meter | None = None) -> Hooks:
    """Return hooks that record metrics.

    A client takes them beside spans: ``hooks=(tracing(), metering())``. Several clients may share them. All
    have the attribute ``fullstory.operation``.

    ==================================== ========= ===================================================
    ``http.client.request.duration``     histogram seconds of each attempt, by status, error and server
    ``fullstory.client.wait.duration``   histogram seconds before each attempt: rate limit and retries
    ``fullstory.client.activations``     counter   spent activations; ``fullstory.at_risk`` if it failed
    ``fullstory.client.throttled``       counter   responses with the status 429
    ==================================== ========= ===================================================

    Args:
        meter: makes the instruments; by default one of the global provider's.
    """
    instruments = _Instruments(meter or metrics.get_meter("fullstory_async", __version__))
    return Hooks(on_request=instruments.record_wait, on_response=instruments.record_response)


def _server(event: RequestSent) -> dict[str, str | int | bool]:
    """Return the attributes that OpenTelemetry's conventions require beside the method."""
    return {"server.address": event.host, "server.port": event.port}


class _Instruments:
    """The instruments of one meter."""

    def __init__(self, meter: metrics.Meter) -> None:
        seconds: dict[str, Any] = {"unit": "s"}
        # OpenTelemetry's own buckets begin at 5 s; before version 1.30 only a program's view can set others
        if "explicit_bucket_boundaries_advisory" in signature(meter.create_histogram).parameters:
            seconds["explicit_bucket_boundaries_advisory"] = _BUCKETS
        self._durations = meter.create_histogram(
            "http.client.request.duration", description="Duration of HTTP client requests.", **seconds
        )
        self._waits = meter.create_histogram(
            "fullstory.client.wait.duration", description="Time before a request is sent.", **seconds
        )
        self._activations = meter.create_counter(
            "fullstory.client.activations", "{activation}", "Activations that were spent, or may have been."
        )
        self._throttled = meter.create_counter(
            "fullstory.client.throttled", "{response}", "Responses with the status 429."
        )

    def record_wait(self, event: RequestSent) -> None:
        self._waits.record(event.waited, {"fullstory.operation": event.operation})

    def record_response(self, event: ResponseReceived) -> None:
        operation: dict[str, str | int | bool] = {"fullstory.operation": event.operation}
        about = operation | _server(event) | {"http.request.method": event.method}
        if event.status is not None:
            about["http.response.status_code"] = event.status
        if event.error is not None:
            about["error.type"] = event.error
        self._durations.record(event.seconds, about)
        if event.status == 429:
            self._throttled.add(1, operation)
        if event.may_have_cost:
            self._activations.add(1, operation | {"fullstory.at_risk": event.error is not None})


class _Spans:
    """The spans of one client's requests in flight, by call."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._in_flight: dict[int, trace.Span] = {}
        self._propagator = TraceContextTextMapPropagator()

    def start(self, event: RequestSent) -> None:
        attributes: dict[str, str | int | bool] = {
            "http.request.method": event.method,
            "fullstory.operation": event.operation,
            "fullstory.metered": event.metered,
            **_server(event),
        }
        if event.attempt > 1:
            attributes["http.request.resend_count"] = event.attempt - 1
        self._in_flight[event.call] = self._tracer.start_span(
            f"FullStory {event.operation}", kind=trace.SpanKind.CLIENT, attributes=attributes
        )

    def headers(self, event: RequestSent) -> dict[str, str]:
        """Return the headers that tell the service the request's span."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, trace.set_span_in_context(self._in_flight[event.call]))
        return carrier

    def end(self, event: ResponseReceived) -> None:
        span = self._in_flight.pop(event.call)
        if event.status is not None:
            span.set_attribute("http.response.status_code", event.status)
            span.set_attribute("http.response.body.size", event.body_bytes)
        for name in REQUEST_ID_HEADERS:
            if name in event.headers:
                span.set_attribute(f"http.response.header.{name}", [event.headers[name]])
        if event.error is not None:
            span.set_attribute("error.type", event.error)
            span.set_status(trace.StatusCode.ERROR)
        span.end()

    def add_join(self, event: RequestJoined) -> None:
        """Add a span for a wait that is over, linked to the request that another call sent."""
        context = self._propagator.extract(event.request_headers)
        shared = trace.get_current_span(context).get_span_context()
        now = time.time_ns()
        span = self._tracer.start_span(
            f"FullStory {event.operation} (shared request)",
            kind=trace.SpanKind.INTERNAL,
            attributes={"fullstory.operation": event.operation, "fullstory.shared": True},
            links=[trace.Link(shared)] if shared.is_valid else [],
            start_time=now - round(event.seconds * 1e9),
        )
        if event.error is not None:
            span.set_attribute("error.type", event.error)
            span.set_status(trace.StatusCode.ERROR)
        span.end(now)

    # Retries and 429s belong to the call and not to one attempt, whose span has ended by then: they become
    # events of the program's own span.
    @staticmethod
    def add_retry(event: RetryPlanned) -> None:
        attributes: dict[str, str | float] = {
            "fullstory.operation": event.operation,
            "error.type": event.error,
            "fullstory.delay": event.delay,
        }
        trace.get_current_span().add_event("fullstory.retry", attributes)

    @staticmethod
    def add_throttling(event: RequestThrottled) -> None:
        attributes: dict[str, str | float] = {
            "fullstory.operation": event.operation,
            "fullstory.pause": event.pause,
        }
        trace.get_current_span().add_event("fullstory.throttled", attributes)
