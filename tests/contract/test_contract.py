"""The published contract: a mock server made of it checks the client, and it checks the sandbox."""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest
import yaml
from aiohttp import web
from yarl import URL

from fullstory_async import (
    APIStatusError,
    ClientConfig,
    FullStoryClient,
    NotFoundError,
    RateLimit,
    RateLimitedError,
    RetryPolicy,
    SessionEvent,
    SessionId,
)
from fullstory_async.sandbox import Fault, Sandbox

DOCUMENT = yaml.safe_load((Path(__file__).parent / "fullstory-sessions-openapi.yaml").read_text())
PARAMETERS = DOCUMENT["components"]["parameters"]
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = {path: item["get"] for path, item in DOCUMENT["paths"].items()}
PATTERNS = {path: re.compile(re.sub(r"\{\w+\}", "([^/]+)", path)) for path in OPERATIONS}


def resolved(node: Any) -> Any:
    """Replace every ``$ref`` of the document by what it names."""
    if isinstance(node, dict):
        if "$ref" in node:
            section, name = node["$ref"].split("/")[-2:]
            return resolved(DOCUMENT["components"][section][name])
        return {key: resolved(value) for key, value in node.items()}
    return [resolved(item) for item in node] if isinstance(node, list) else node


def operation_of(raw_path: str) -> Any:
    return next(
        (resolved(OPERATIONS[path]) for path, pattern in PATTERNS.items() if pattern.fullmatch(raw_path)),
        None,
    )


def schema_of(operation: Any, status: int) -> Any:
    return operation["responses"][str(status)]["content"]["application/json"]["schema"]


def violations(request: web.Request, operation: Any) -> list[str]:
    """Check a request as a generic mock server would: authentication, required parameters and their types."""
    found = []
    if not re.fullmatch(r"Basic \S+", request.headers.get("Authorization", "")):
        found.append("no basic authentication")
    for parameter in operation["parameters"]:
        if parameter["in"] != "query":
            continue
        value = request.query.get(parameter["name"])
        if value is None:
            found += [f"{parameter['name']} is missing"] if parameter["required"] else []
            continue
        typed = int(value) if parameter["schema"]["type"] == "integer" and value.isdigit() else value
        found += [
            error.message for error in jsonschema.Draft202012Validator(parameter["schema"]).iter_errors(typed)
        ]
    return found


def example(schema: Any, rng: random.Random) -> Any:
    """Make any value that the schema allows: absent properties and unknown ones included."""
    kind = schema["type"]
    if kind == "object":
        names = [name for name in schema.get("properties", {}) if rng.random() < 0.8]
        value = {name: example(schema["properties"][name], rng) for name in names}
        # an unknown member alone is another API's response, also beside a session's id, which many services
        # return; an unknown list instead of the known one, too
        lists = [name for name, each in schema.get("properties", {}).items() if each["type"] == "array"]
        unknown = [rng.random()] if set(lists) <= set(names) else rng.random()
        is_ours = bool(set(names) - {"session_id"})
        return {**value, "unknown_key": unknown} if is_ours and rng.random() < 0.5 else value
    if kind == "array":
        return [example(schema["items"], rng) for _ in range(rng.randint(0, 4))]
    if kind == "integer":
        return rng.choice([0, 404, -(2**40)])
    formats = {
        "date-time": ["1891-03-04T05:06:07Z", "2026-05-04T10:00:00.123+02:00"],
        "uri": ["https://x.test/a?b=c"],
    }
    return rng.choice(formats.get(schema.get("format"), ["", "text", "ünï", "1:2"]))


def example_body(schema: Any, rng: random.Random) -> bytes:
    return json.dumps(example(schema, rng)).encode()


@asynccontextmanager
async def mock_server(
    status: int = 200, make_body: Callable[[Any, random.Random], bytes] = example_body
) -> AsyncIterator[tuple[str, list[tuple[str, list[str]]]]]:
    """Serve the document: 422 with the reasons for a request that breaks it, else an answer of its schema."""
    rng = random.Random(0)
    broken: list[tuple[str, list[str]]] = []

    async def serve(request: web.Request) -> web.Response:
        operation = operation_of(request.raw_path.partition("?")[0])
        reasons = ["no such path"] if operation is None else violations(request, operation)
        if reasons:
            broken.append((request.raw_path, reasons))
            return web.json_response({"code": 422, "message": str(reasons)}, status=422)
        body = make_body(schema_of(operation, status), rng)
        return web.Response(body=body, status=status, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", broken
    finally:
        await runner.cleanup()


def client_of(url: str) -> FullStoryClient:
    config = ClientConfig(
        api_key="na1.a2V5", base_url=url, rate_limit=RateLimit(2000, 2000), retry=RetryPolicy(attempts=1)
    )
    return FullStoryClient(config=config)


IDS = [
    "1:2",
    "abc",
    "a?b#c",
    "a+b",
    "ünï",
    "%",
    "3e2bf53f-1b2c-4d5e-8f90-29c9276febf9:cef16b56-1b2c-4d5e-8f90-d955b1a50eb5",
]


async def test_the_client_passes_a_mock_of_the_contract_with_only_the_base_url_set() -> None:
    async with mock_server() as (url, broken), client_of(url) as client:
        for n in range(60):
            page = await client.sessions.list(
                email="ada@example.com", uid=None if n % 2 else "u/1 &", limit=n + 1
            )
            assert all(isinstance(session.session_id, str) for session in page)
            events = await client.sessions.events(IDS[n % len(IDS)])
            assert all(isinstance(event, SessionEvent) and isinstance(event.data, dict) for event in events)
            summary = await client.sessions.summary(IDS[n % len(IDS)], config_profile_id="support")
            assert summary.session_id
            assert summary.config_profile_id
        async with client.sessions.events_many(IDS * 5) as results:
            assert all([outcome.error is None async for outcome in results])
    assert broken == []


@pytest.mark.parametrize(("status", "error_class"), [(404, NotFoundError), (429, RateLimitedError)])
async def test_the_contracts_error_answers_are_errors(status: int, error_class: type[APIStatusError]) -> None:
    async with mock_server(status) as (url, broken):
        for _ in range(3):
            async with client_of(url) as client:
                with pytest.raises(error_class) as caught:
                    await client.sessions.events("1:2", timeout=0.5)
            assert caught.value.code is None or isinstance(caught.value.code, int)
    assert broken == []


async def test_the_sandboxes_published_form_is_the_contracts() -> None:
    async with Sandbox(
        users=3, sessions=30, mean_events=20, wire="spec", rate_limit=RateLimit(1000, 1000)
    ) as sandbox:
        known = str(SessionId(sandbox.session_ids[0])).replace(":", "%3A")
        sandbox.inject(Fault.status(429), operation="list", times=1, skip=4)
        headers = {"Authorization": f"Basic {sandbox.api_key}"}
        asked = [
            ("/sessions/v2?uid=u-1", headers, 200),
            ("/sessions/v2?email=grace@example.com&limit=3", headers, 200),
            ("/sessions/v2?uid=nobody", headers, 200), ("/sessions/v2", headers, 400),
            ("/sessions/v2?uid=u-1", {}, 401),
            ("/sessions/v2?uid=u-1", headers, 429), (f"/v2/sessions/{known}/events", headers, 200),
            ("/v2/sessions/1%3A2/events", headers, 404), (f"/v2/sessions/{known}/events", {}, 401),
            (f"/v2/sessions/{known}/summary?config_profile_id=support", headers, 200),
            (f"/v2/sessions/{known}/summary?config_profile_id=triage", headers, 200),
            (f"/v2/sessions/{known}/summary?config_profile_id=nonsense", headers, 404),
        ]  # fmt: skip
        async with aiohttp.ClientSession() as session:
            for path, sent, status in asked:
                async with session.get(URL(sandbox.url + path, encoded=True), headers=sent) as response:
                    body = json.loads(await response.read())
                    assert response.status == status, path
                schema = schema_of(operation_of(path.partition("?")[0]), status)
                checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
                jsonschema.Draft202012Validator(schema, format_checker=checker).validate(body)
