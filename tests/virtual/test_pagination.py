"""Pager and the widening of the session list."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from fullstory_async import ConfigurationError, Page, Pager, PaginationError
from fullstory_async.api.list_cursor import ListCursor
from fullstory_async.messages import Request, Response
from fullstory_async.testing import FakeTransport, json_response
from tests.fakes import make_sessions

pytestmark = pytest.mark.virtual_time


def pager_of(
    pages: dict[str | None, Page[int]], asked: list[str | None], limit: int | None = None
) -> Pager[int]:
    async def fetch(token: str | None) -> Page[int]:
        asked.append(token)
        return pages[token]

    return Pager(fetch, limit=limit)


THREE: dict[str | None, Page[int]] = {
    None: Page(items=(1, 2), next_token="a"),
    "a": Page(items=(), next_token="b"),
    "b": Page(items=(3,), next_token=None),
}


async def test_awaiting_gives_the_first_page_each_time() -> None:
    asked: list[str | None] = []
    pager = pager_of(THREE, asked)
    assert list(await pager) == list(await pager) == [1, 2]
    assert asked == [None, None]


async def test_a_task_can_be_made_of_a_pager() -> None:
    asked: list[str | None] = []
    pager = pager_of(THREE, asked)
    assert list(await asyncio.create_task(pager)) == [1, 2]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(pager) for _ in range(2)]
    assert [list(task.result()) for task in tasks] == [[1, 2], [1, 2]]
    assert asked == [None, None, None]


async def test_tasks_of_one_pager_wait_and_fail_and_are_cancelled_each_for_itself() -> None:
    started: list[int] = []

    async def fetch(token: str | None) -> Page[int]:
        started.append(number := len(started))
        await asyncio.sleep(10 - number)
        if number == 1:
            raise PaginationError("no")
        return Page(items=(number,))

    pager = Pager(fetch)
    tasks = [asyncio.create_task(pager) for _ in range(4)]
    never_started = asyncio.create_task(pager)
    never_started.cancel()
    await asyncio.sleep(1)
    tasks[2].cancel()
    results = await asyncio.gather(*tasks, never_started, return_exceptions=True)
    assert [type(result) for result in results] == [
        Page, PaginationError, asyncio.CancelledError, Page, asyncio.CancelledError,
    ]  # fmt: skip
    assert [results[0], results[3]] == [Page(items=(0,)), Page(items=(3,))]
    assert list(await asyncio.wait_for(pager, 60)) == [4]


async def test_iteration_goes_on_after_an_empty_page() -> None:
    assert [item async for item in pager_of(THREE, [])] == [1, 2, 3]


@pytest.mark.parametrize(
    ("limit", "items", "requests"), [(1, [1], 1), (2, [1, 2], 1), (3, [1, 2, 3], 3), (9, [1, 2, 3], 3)]
)
async def test_the_limit_ends_it_without_a_needless_request(
    limit: int, items: list[int], requests: int
) -> None:
    asked: list[str | None] = []
    assert [item async for item in pager_of(THREE, asked, limit)] == items
    assert len(asked) == requests


async def test_pages_resume_from_a_token() -> None:
    asked: list[str | None] = []
    assert [page.items async for page in pager_of(THREE, asked).pages("a")] == [(), (3,)]
    assert asked == ["a", "b"]


async def test_an_empty_token_is_the_end() -> None:
    pages: dict[str | None, Page[int]] = {None: Page(items=(1,), next_token="")}
    assert [page.items async for page in pager_of(pages, []).pages()] == [(1,)]


async def test_a_token_that_comes_back_is_an_error() -> None:
    pages = {None: Page(items=(1,), next_token="a"), "a": Page(items=(2,), next_token="a")}
    seen = []
    with pytest.raises(PaginationError, match="twice"):
        async for _ in pager_of(pages, []).pages("a"):
            pass
    with pytest.raises(PaginationError, match="twice"):
        async for item in pager_of(pages, []):
            seen.append(item)
    assert seen == [1, 2]


async def test_two_thousand_empty_pages_are_a_loop_not_a_recursion() -> None:
    pages: dict[str | None, Page[int]] = {
        None if n == 0 else str(n): Page(items=(), next_token=str(n + 1)) for n in range(2000)
    }
    pages["2000"] = Page(items=(7,))
    assert [item async for item in pager_of(pages, [])] == [7]


def test_a_plain_for_says_what_to_write() -> None:
    with pytest.raises(TypeError, match="async for"):
        iter(pager_of(THREE, []))


def test_a_page_is_a_sequence() -> None:
    page = Page(items=(1, 2, 3))
    assert (page[0], page[1:], len(page), list(page), 2 in page) == (1, (2, 3), 3, [1, 2, 3], True)


def listing(total: int, cap: int | None = None) -> FakeTransport:
    """A service with so many sessions that answers the last ``limit`` of them, newest last."""

    def answer(request: Request) -> Response:
        limit = int(dict(request.query)["limit"])
        shown = min(limit, cap or limit, total)
        return json_response(
            {"sessions": [{"userId": "1", "sessionId": str(n)} for n in range(total - shown, total)]}
        )

    return FakeTransport(respond=answer)


def limits(transport: FakeTransport) -> list[int]:
    return [int(dict(request.query)["limit"]) for _, request in transport.sent]


@pytest.mark.parametrize(
    ("total", "asked"),
    [(0, [100]), (99, [100]), (100, [100, 200]), (250, [100, 200, 400]), (1000, [100, 200, 400, 800, 1600])],
)
async def test_without_a_limit_it_widens_until_the_end(total: int, asked: list[int]) -> None:
    transport = listing(total)
    found = [session.session_id async for session in make_sessions(transport).list(uid="u", limit=None)]
    assert sorted(map(int, found)) == list(range(total))
    assert limits(transport) == asked


async def test_a_server_that_caps_the_limit_ends_it() -> None:
    transport = listing(500, cap=100)
    found = [session async for session in make_sessions(transport).list(uid="u", limit=None)]
    assert len(found) == 100
    assert limits(transport) == [100, 200]


@pytest.mark.parametrize(("limit", "asked", "given"), [(20, [20], 20), (1, [1], 1), (300, [300], 250)])
async def test_a_limit_is_asked_for_as_it_is(limit: int, asked: list[int], given: int) -> None:
    transport = listing(250)
    found = [session async for session in make_sessions(transport).list(uid="u", limit=limit)]
    assert (len(found), limits(transport)) == (given, asked)


async def test_twenty_unless_said_otherwise() -> None:
    transport = listing(50)
    assert len(await make_sessions(transport).list(email="a@b.c")) == 20
    assert limits(transport) == [20]


async def test_a_listing_resumes_in_another_process() -> None:
    transport = listing(250)
    first = await make_sessions(transport).list(uid="u", limit=None)
    rest = [
        session
        async for page in make_sessions(transport).list(uid="u", limit=None).pages(first.next_token)
        for session in page
    ]
    assert len(first) == 100
    assert {s.session_id for s in (*first, *rest)} == {str(n) for n in range(250)}
    assert len(rest) == 150
    assert limits(transport) == [100, 200, 400]


async def test_the_servers_own_token_is_followed_if_one_comes() -> None:
    def answer(request: Request) -> Response:
        token = dict(request.query).get("pagination_token")
        number = int(token or 0)
        items = [{"sessionId": f"{number}-{n}"} for n in range(2)] if number != 1 else []
        return json_response(
            {"sessions": items, **({"next_pagination_token": str(number + 1)} if number < 3 else {})}
        )

    transport = FakeTransport(respond=answer)
    found = [session.session_id async for session in make_sessions(transport).list(uid="u", limit=None)]
    assert found == ["0-0", "0-1", "2-0", "2-1", "3-0", "3-1"]
    assert [dict(r.query).get("pagination_token") for _, r in transport.sent] == [None, "1", "2", "3"]


async def test_a_circle_of_server_tokens_is_an_error() -> None:
    transport = FakeTransport(
        respond=lambda _: json_response({"sessions": [{"sessionId": "1"}], "pagination_token": "t"})
    )
    with pytest.raises(PaginationError):
        async for _ in make_sessions(transport).list(uid="u", limit=None):
            pass
    assert len(transport.sent) == 2


async def test_the_callers_limit_holds_for_pages_and_for_the_first_page_too() -> None:
    def answer(request: Request) -> Response:
        number = int(dict(request.query).get("pagination_token", 0))
        items = [{"sessionId": f"{number}-{n}"} for n in range(10)]
        return json_response({"sessions": items, "pagination_token": str(number + 1)})

    transport = FakeTransport(respond=answer)
    pages = [len(page) async for page in make_sessions(transport).list(uid="u", limit=25).pages()]
    assert (pages, len(transport.sent)) == ([10, 10, 5], 3)
    assert len(await make_sessions(FakeTransport(respond=answer)).list(uid="u", limit=5)) == 5


async def test_sessions_that_come_twice_do_not_use_up_the_limit() -> None:
    def answer(request: Request) -> Response:
        limit = int(dict(request.query)["limit"])
        return json_response({"sessions": [{"sessionId": str(n // 2)} for n in range(200)][:limit]})

    assert len([s async for s in make_sessions(FakeTransport(respond=answer)).list(uid="u", limit=20)]) == 20


async def test_resuming_with_a_smaller_limit_ends() -> None:
    transport = FakeTransport(
        respond=lambda r: json_response(
            {
                "sessions": [{"sessionId": str(n)} for n in range(10)],
                "pagination_token": str(len(transport.sent)),
            }
        )
    )
    first = await make_sessions(transport).list(uid="u", limit=50)
    pages = [page async for page in make_sessions(transport).list(uid="u", limit=5).pages(first.next_token)]
    assert [len(page) for page in pages] == [0]


async def test_a_null_in_the_list_does_not_end_it() -> None:
    def answer(request: Request) -> Response:
        limit = int(dict(request.query)["limit"])
        items = [None, *({"sessionId": str(n)} for n in range(249))]
        return json_response({"sessions": items[:limit]})

    found = [s async for s in make_sessions(FakeTransport(respond=answer)).list(uid="u", limit=None)]
    assert len(found) == 249


async def test_a_full_answer_with_nothing_new_is_the_end() -> None:
    transport = FakeTransport(
        respond=lambda _: json_response({"sessions": [{"sessionId": str(n % 100)} for n in range(500)]})
    )
    assert len([s async for s in make_sessions(transport).list(uid="u", limit=None)]) == 100
    assert limits(transport) == [100, 200]


async def test_a_session_that_comes_twice_in_one_answer_is_given_once() -> None:
    transport = FakeTransport(
        respond=lambda _: json_response({"sessions": [{"sessionId": "1"}, {"sessionId": "1"}]})
    )
    assert len(await make_sessions(transport).list(uid="u", email="e@x.y")) == 1


def token_of(state: object) -> str:
    return "fs1." + base64.urlsafe_b64encode(json.dumps(state).encode()).decode()


@pytest.mark.parametrize(
    "token",
    [
        "nonsense", "fs1.!!", "fs1.", token_of(None), token_of([1, 0]), token_of([0, 0, [], None]), token_of([-5, 0, [], None]),
        token_of([1, 0, [], 5]), token_of(["x", 0, [], None]), "fs1." + base64.urlsafe_b64encode(b"[1e999,0,[],null]").decode(), "fs1." + base64.urlsafe_b64encode(b"[" * 10**5).decode(), 5,
    ],
)  # fmt: skip
async def test_a_foreign_token_is_refused(token: Any) -> None:
    with pytest.raises(ConfigurationError, match="page token"):
        async for _ in make_sessions(FakeTransport()).list(uid="u").pages(token):
            pass


def test_positions_survive_as_tokens() -> None:
    for position in (
        ListCursor(limit=7, returned=2, seen=frozenset({"a", "b"})),
        ListCursor(limit=3, server_token="a.b/c="),
    ):
        assert ListCursor.from_token(position.to_token()) == position


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "a uid or a session_uid"), ({"email": ""}, "a uid or a session_uid"), ({"uid": "", "email": None}, "a uid or a session_uid"),
        ({"uid": "u", "limit": 0}, "limit"), ({"uid": "u", "limit": -5}, "limit"), ({"uid": "u", "limit": 2.5}, "limit"),
        ({"uid": "u", "limit": True}, "limit"), ({"uid": "u", "timeout": 0}, "timeout"), ({"uid": "\ud800"}, "surrogate"),
        ({"uid": 5}, "uid"), ({"email": b"x"}, "email"), ({"uid": "u", "extra_query": "ab"}, "extra_query"),
        ({"uid": "u", "extra_query": {5: "x"}}, "extra_query"), ({"uid": "u", "extra_headers": "ab"}, "extra_headers"),
        ({"uid": "u", "extra_headers": {5: "x"}}, "extra_headers"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_before_anything_is_sent(arguments: dict[str, Any], reason: str) -> None:
    transport = FakeTransport()
    with pytest.raises(ConfigurationError, match=reason):
        make_sessions(transport).list(**arguments)
    assert not transport.sent
