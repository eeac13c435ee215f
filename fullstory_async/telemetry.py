"""Spans for OpenTelemetry: one for each request that is sent, under whatever span the program is in.

A span has the names of OpenTelemetry's conventions for HTTP clients where there is one (``http.request.method``,
``http.response.status_code``, ``http.request.resend_count``, ``http.response.body.size``, ``error.type``), and the operation and whether it is
metered. The address is left out on purpose: a session's id and a user's e-mail stand in it, and traces are kept for long
and seen by many. The text of errors is left out too, as a service may quote either.

Needs the extra ``otel``, which is OpenTelemetry's interface alone; without its SDK the spans go nowhere.
"""

from __future__ import annotations

from opentelemetry import trace

from fullstory_async._version import __version__
from fullstory_async.http.hooks import Hooks, RequestSent, RequestThrottled, ResponseReceived, RetryPlanned

__all__ = ["tracing"]


def tracing(tracer: trace.Tracer | None = None) -> Hooks:
    """Return hooks that make spans: ``FullStoryClient(hooks=tracing())``. For one client each.

    Args:
        tracer: makes the spans; one of the global provider's unless given.
    """
    spans = _Spans(tracer or trace.get_tracer("fullstory_async", __version__))
    return Hooks(
        on_request=spans.begin, on_response=spans.end, on_retry=spans.note_retry, on_throttle=spans.note_pause
    )


class _Spans:
    """The spans of one client's requests that are under way, by call."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._under_way: dict[int, trace.Span] = {}

    def begin(self, event: RequestSent) -> None:
        attributes: dict[str, str | int | bool] = {
            "http.request.method": event.method,
            "fullstory.operation": event.operation,
            "fullstory.metered": event.metered,
        }
        if event.attempt > 1:
            attributes["http.request.resend_count"] = event.attempt - 1
        self._under_way[event.call] = self._tracer.start_span(
            f"FullStory {event.operation}", kind=trace.SpanKind.CLIENT, attributes=attributes
        )

    def end(self, event: ResponseReceived) -> None:
        span = self._under_way.pop(event.call)
        if event.status is not None:
            span.set_attribute("http.response.status_code", event.status)
            span.set_attribute("http.response.body.size", event.body_bytes)
        if event.error is not None:
            span.set_attribute("error.type", event.error)
            span.set_status(trace.StatusCode.ERROR)
        span.end()

    @staticmethod
    def note_retry(event: RetryPlanned) -> None:
        attributes: dict[str, str | float] = {
            "fullstory.operation": event.operation,
            "error.type": event.error,
            "fullstory.delay": event.delay,
        }
        trace.get_current_span().add_event("fullstory.retry", attributes)

    @staticmethod
    def note_pause(event: RequestThrottled) -> None:
        attributes: dict[str, str | float] = {
            "fullstory.operation": event.operation,
            "fullstory.pause": event.pause,
        }
        trace.get_current_span().add_event("fullstory.throttled", attributes)
