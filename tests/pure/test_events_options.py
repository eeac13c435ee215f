"""The options of a call for events: methods, query, contract, sandbox and cassettes know the same ones."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest

from fullstory_async.api.sessions import SessionsAPI
from fullstory_async.errors import ConfigurationError
from fullstory_async.http.endpoints import events_query
from fullstory_async.sandbox.contract import contract
from fullstory_async.sandbox.service import Service
from fullstory_async.sandbox.state import ApiError
from fullstory_async.sandbox.world import World
from fullstory_async.testing import vcr_settings

OPTIONS = set(inspect.signature(events_query).parameters)
OF_EVERY_CALL = {"self", "session_id", "timeout", "extra_query", "extra_headers", "priority"}
OF_A_FANOUT = {"self", "ids", "timeout", "extra_query", "extra_headers", "concurrency", "max_failures"}


@pytest.mark.parametrize(
    ("method", "others"),
    [
        (SessionsAPI.events, OF_EVERY_CALL),
        (SessionsAPI.stream_events, OF_EVERY_CALL),
        (SessionsAPI.events_many, OF_A_FANOUT),
    ],
)
def test_every_method_takes_them(method: Any, others: set[str]) -> None:
    assert set(inspect.signature(method).parameters) - others == OPTIONS


@pytest.mark.parametrize("wire", ["live", "spec"])
def test_the_contract_lists_them(wire: str) -> None:
    paths = contract(wire, "http://127.0.0.1", ["1:2"])["paths"]
    (operation,) = [item["get"] for path, item in paths.items() if path.endswith("/events")]
    assert {each["name"] for each in operation["parameters"] if each["in"] == "query"} == OPTIONS


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_a_cassette_keeps_its_value(option: str) -> None:
    sent = SimpleNamespace(uri=f"https://x.test/v2/sessions/1:2/events?{option}=true", body=None)
    assert vcr_settings()["before_record_request"](sent).uri.endswith(f"?{option}=true")


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_the_client_and_the_sandbox_refuse_a_wrong_value_by_name(option: str) -> None:
    with pytest.raises(ConfigurationError, match=option):
        events_query(**{option: object()})  # type: ignore[arg-type]
    world = World(0, 1, 1, 1)
    with pytest.raises(ApiError, match=option):
        Service(world, "live", None).events(next(iter(world.sessions)), {option: "no value of it"})
