"""The two list endpoints: which one is asked first, when the other one is tried, and what is remembered."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import pytest

from fullstory_async import (
    APIStatusError,
    ClientConfig,
    ConfigurationError,
    DecodeError,
    FullStoryError,
    NotFoundError,
    ProtocolError,
    RetryPolicy,
    ServerError,
    Session,
)
from fullstory_async.api import ApiContext, ListEndpoints, SessionsAPI
from fullstory_async.config import ListApi
from fullstory_async.messages import Request, Response
from fullstory_async.testing import FakeTransport, Scripted, json_response
from tests.fakes import make_pipeline

pytestmark = pytest.mark.virtual_time

V1, V2 = "/sessions/v2", "/v2/sessions"
PLAIN_404 = Response(status=404, body=b"404 page not found")
FOUND = json_response({"sessions": [{"userId": "1", "sessionId": "2", "fsUrl": "https://x"}]})
NEWEST = json_response({"results": [{"id": "1:2", "app_url": "https://x", "created_time": "1716475200"}]})
NOTHING_FOUND = json_response({"code": "user_not_found", "message": "no"}, 404)


def listing(
    responses: Mapping[str, Scripted | Callable[[], Scripted]], list_api: ListApi = "v1"
) -> tuple[FakeTransport, SessionsAPI]:
    """Return the sessions of a service that responds by path."""

    def answer(request: Request) -> Scripted:
        found = responses[request.path]
        return found() if callable(found) else found

    transport = FakeTransport(respond=answer)
    pipeline = make_pipeline(transport, retry=RetryPolicy(attempts=1))
    return transport, SessionsAPI(ApiContext(pipeline, lists=ListEndpoints(list_api)))


def paths(transport: FakeTransport) -> list[str]:
    return [request.path for _, request in transport.sent]


@pytest.mark.parametrize(
    ("list_api", "query", "path"),
    [
        ("v1", {"uid": "u"}, V1), ("v1", {"email": "e"}, V1), ("v1", {"session_uid": "s"}, V2),
        ("v2", {"uid": "u"}, V2), ("v2", {"email": "e"}, V2), ("v2", {"session_uid": "s"}, V2),
    ],
)  # fmt: skip
async def test_each_query_has_its_path(list_api: ListApi, query: dict[str, str], path: str) -> None:
    for response in (FOUND, NEWEST):
        transport, sessions = listing({path: response}, list_api)
        found = await sessions.list(**query)  # type: ignore[arg-type]  # its values are texts
        assert [session.id for session in found] == ["1:2"]
        [(_, request)] = transport.sent
        assert (request.path, dict(request.query)) == (path, {**query, "limit": "20"})
        assert not request.metered


NOT_SERVED = [
    PLAIN_404, Response(status=404), Response(status=405), json_response({"code": 404, "message": "n"}, 404),
    json_response({"code": "not_found", "message": "n"}, 404),
    json_response({"code": "method_not_allowed", "message": "n"}, 405), json_response([], 404),
    json_response({"code": "user_not_found", "message": "n"}, 405),
]  # fmt: skip


@pytest.mark.row(61)
@pytest.mark.parametrize("refusal", NOT_SERVED, ids=lambda refusal: f"{refusal.status} {refusal.body[:20]!r}")
async def test_the_other_path_is_tried_and_remembered(refusal: Response) -> None:
    for list_api, first, other, response in (("v1", V1, V2, NEWEST), ("v2", V2, V1, FOUND)):
        transport, sessions = listing({first: refusal, other: response}, list_api)  # type: ignore[arg-type]
        for _ in range(3):
            assert [session.id for session in await sessions.list(uid="u", limit=3)] == ["1:2"]
        assert paths(transport) == [first, other, other, other]
        assert {dict(request.query)["uid"] for _, request in transport.sent} == {"u"}


@pytest.mark.row(61)
async def test_a_missing_v2_is_remembered_for_every_query_and_a_missing_v1_too() -> None:
    transport, sessions = listing({V1: FOUND, V2: PLAIN_404}, "v2")
    await sessions.list(session_uid="s")
    await sessions.list(uid="u")
    assert paths(transport) == [V2, V1, V1]
    transport, sessions = listing({V1: FOUND, V2: PLAIN_404})
    await sessions.list(uid="u")
    await sessions.list(session_uid="s")
    await sessions.list(session_uid="s")
    assert paths(transport) == [V1, V2, V1, V1]


async def test_each_client_remembers_for_itself() -> None:
    for _ in range(2):
        transport, sessions = listing({V1: PLAIN_404, V2: NEWEST})
        await sessions.list(uid="u")
        assert paths(transport) == [V1, V2]


async def test_a_service_that_changes_is_followed_back() -> None:
    served = {V1: PLAIN_404, V2: NEWEST}
    transport, sessions = listing({V1: lambda: served[V1], V2: lambda: served[V2]})
    await sessions.list(uid="u")
    served.update({V1: FOUND, V2: PLAIN_404})
    for _ in range(2):
        assert len(await sessions.list(uid="u")) == 1
    assert paths(transport) == [V1, V2, V2, V1, V1]


@pytest.mark.row(61)
@pytest.mark.parametrize(
    "refusal",
    [
        NOTHING_FOUND, json_response({"code": "resource_not_found", "message": "no"}, 404),
        json_response({"code": "required_field", "message": "no"}, 400), Response(status=401), Response(status=403),
        Response(status=410), json_response(None, 429, retry_after="86400"), Response(status=500), Response(status=501),
    ],
    ids=lambda refusal: f"{refusal.status} {refusal.body!r}",
)  # fmt: skip
async def test_any_other_refusal_is_final(refusal: Response) -> None:
    for list_api, first in (("v1", V1), ("v2", V2)):
        transport, sessions = listing({first: refusal}, list_api)  # type: ignore[arg-type]
        with pytest.raises(APIStatusError) as caught:
            await sessions.list(uid="u")
        assert (caught.value.status, paths(transport)) == (refusal.status, [first])


@pytest.mark.row(61)
async def test_where_neither_is_served_the_configured_one_is_reported_and_nothing_is_remembered() -> None:
    for refused, other in itertools.product(NOT_SERVED[:3], repeat=2):
        transport, sessions = listing({V1: refused, V2: other})
        for _ in range(2):
            with pytest.raises(FullStoryError, match=f"GET {V1}") as caught:
                await sessions.list(uid="u")
            assert caught.value.status == refused.status
            assert caught.value.__cause__ is caught.value.__context__ is None
        assert paths(transport) == [V1, V2, V1, V2]


@pytest.mark.parametrize(
    ("second", "error"),
    [
        (NOTHING_FOUND, NotFoundError), (Response(status=500), ServerError),
        (json_response({"data": []}), DecodeError), (ProtocolError("cut off", sent=True), ProtocolError),
    ],
)  # fmt: skip
async def test_what_the_other_path_says_is_raised_but_not_remembered(
    second: Scripted, error: type[FullStoryError]
) -> None:
    transport, sessions = listing({V1: PLAIN_404, V2: second})
    for _ in range(2):
        with pytest.raises(error, match=f"GET {V2}"):
            await sessions.list(uid="u")
    assert paths(transport) == [V1, V2, V1, V2]


async def test_a_listing_goes_on_where_its_first_page_was_found() -> None:
    def newest(request: Request) -> Scripted:
        if request.path == V1:
            return PLAIN_404
        shown = min(150, int(dict(request.query)["limit"]))
        return json_response({"results": [{"id": f"1:{n}"} for n in range(150 - shown, 150)]})

    transport = FakeTransport(respond=newest)
    sessions = SessionsAPI(ApiContext(make_pipeline(transport)))
    found: list[Session] = [session async for session in sessions.list(uid="u", limit=None)]
    assert sorted(int(session.session_id) for session in found) == list(range(150))
    assert paths(transport) == [V1, V2, V2]


@pytest.mark.parametrize("value", ["v3", "V2", "", None, 2, ["v1"], b"v1"])
def test_other_settings_are_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match="list_api must be 'v1' or 'v2'"):
        ClientConfig(api_key="k", list_api=value)  # type: ignore[arg-type]
