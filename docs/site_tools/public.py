"""The public names, by the page of the reference that describes them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PAGES", "Page"]


class Page(NamedTuple):
    """A page of the reference."""

    title: str
    intro: str
    """The first sentence."""
    names: tuple[str, ...]


def _page(title: str, intro: str, names: str, *, module: str = "") -> Page:
    return Page(title, intro, tuple(f"{module}{name}" for name in names.split()))


PAGES = {
    "client": _page(
        "The client", "What you create a client from, and the operations that it offers.",
        "FullStoryClient api.SessionsAPI api.ProfilesAPI ClientConfig RetryPolicy Secret",
    ),
    "results": _page(
        "Results", "What calls return.",
        """
        Session SessionId SessionEvents SessionEvent SessionPage EventStream
        SessionContext ContextPage ContextEvent models.DeviceContext models.LocationContext
        models.OrgContext models.ScreenSize models.UserContext
        SessionSummary Profile KeyOwner Page Pager FanOut Outcome Success Failure ResponseInfo
        """,
    ),
    "options": _page(
        "Options of context and summaries", "What a context or a summary is made from.",
        """
        ProfileConfiguration LLMOptions SliceOptions ContextOptions EventOptions CacheOptions MediaOptions
        ResponseSchema UnknownEventTypeWarning
        """,
    ),
    "limits": _page(
        "Rates, budgets and caches", "What limits requests and activations, and makes repeated calls free.",
        """
        RateLimit RateLimiter UnsharedLimiterWarning ActivationLedger Meter ResponseCache SummaryCache
        api.ResponseStore
        """,
    ),
    "cluster": _page(
        "Many processes and machines", "One rate limit, one budget and one set of results for all of them.",
        """
        RedisRateLimiter PostgresStore StoreOptions AddedSessions StoreStatus PostgresLedger
        PostgresRateLimiter Postgres
        """,
        module="cluster.",
    ),
    "hooks": _page(
        "Hooks, traces and counters", "How a program sees each request.",
        """
        Hooks RequestSent ResponseReceived RetryPlanned RequestThrottled RequestJoined Stats
        telemetry.tracing telemetry.metering
        """,
    ),
    "jobs": _page(
        "Jobs in a program", "The names of `fullstory_async.jobs`.",
        """
        Job JobPlan JobReader JobReport StopReason JobResult JobSession JobFailure JobStatus JobProgress
        JobEstimate Added Counts
        """,
        module="jobs.",
    ),
    "testing": _page(
        "Sandbox and tests", "A local FullStory: `fullstory_async.sandbox` and `fullstory_async.testing`.",
        """
        sandbox.Sandbox sandbox.Fault sandbox.FaultRule sandbox.RecordedRequest sandbox.RecordedRequests
        sandbox.SandboxSession sandbox.SandboxUser sandbox.User sandbox.Wire testing.FakeTransport
        testing.Request testing.Response testing.Scripted testing.SandboxOptions testing.json_response
        testing.running_sandbox testing.vcr_settings
        """,
    ),
    "streams": _page(
        "Webhooks of FullStory's Streams", "An inbox for the webhooks: `fullstory_async.streams`.",
        "streams.StreamInbox streams.StreamTrigger",
    ),
    "exceptions": _page(
        "Exceptions", "Every exception. [Errors and exit codes](../errors.md) says what to do.",
        """
        FullStoryError Scope ConfigurationError ClientStateError InvalidSessionId ProgramError TransportError
        ConnectError ProxyError LimiterUnavailable APITimeoutError ProtocolError UnexpectedResponseError
        UnexpectedRedirect ResponseTooLarge APIStatusError BadRequestError AuthenticationError
        PermissionDeniedError NotFoundError ConflictError RateLimitedError ServerError ErrorInSuccess
        GatewayThrottledError DecodeError NoSessionFoundError PaginationError ActivationBudgetError
        StorageError JobError JobLockedError JobIncompleteError JobStorageError
        """,
    ),
}  # fmt: skip
"""Name of each page → what it describes, in order."""
