"""``GET /openapi.json`` of the sandbox: it names every operation, and the sandbox conforms to it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest
from yarl import URL

from fullstory_async.sandbox import Sandbox
from fullstory_async.sandbox.routes import routes
from fullstory_async.sandbox.state import Wire
from tests.limits import A_TEST

CONFIGURATION = Path(__file__).parent / "schemathesis.toml"
BODIES: dict[str, list[Any]] = {
    "context": [
        {},
        {"media": {"include_screenshots": True}},
        {"slice": {"mode": "LAST", "event_limit": 3.0}},
    ],
    "summary with overrides": [
        {},
        {"config_profile": "triage"},
        {"llm": {"response_schema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}},
    ],
    "create profile": [{"name": "n"}, {"name": "n", "slice": {"duration_limit_ms": "5"}, "llm": None}],
    "update profile": [{}, {"name": None, "cache": {"enable_event_cache": True}}],
}
QUERIES = {
    "list": ["uid=u-1", "email=ada@example.com&limit=1", "uid=nobody"],
    "list newest": ["uid=u-1", "email=ada@example.com&limit=1", "uid=nobody", "session_uid=nobody"],
    "summary": [
        "config_profile=triage&config_profile_id=triage", "config_profile=support&config_profile_id=support",
    ],
    "profiles": ["", "limit=2", "limit=2&pagination_token=2"],
}  # fmt: skip


@asynccontextmanager
async def served(wire: Wire) -> AsyncIterator[tuple[Sandbox, aiohttp.ClientSession, Any]]:
    async with Sandbox(users=2, sessions=6, mean_events=30, wire=wire) as sandbox:
        key = {"Authorization": f"Basic {sandbox.api_key}"}
        async with aiohttp.ClientSession(headers=key) as session:
            async with session.get(f"{sandbox.url}/openapi.json", headers={"Authorization": ""}) as response:
                assert response.status == 200
                document = await response.json()
        async with aiohttp.ClientSession(headers=key) as session:
            yield sandbox, session, document


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method.upper(), operation


def optional_queries(operation: Any) -> Iterator[str]:
    """Yield an empty query, and one for each value that the contract gives for a parameter."""
    yield ""
    for parameter in operation["parameters"]:
        schema, examples = parameter["schema"], parameter.get("examples", {})
        values = schema.get("enum") or [example["value"] for example in examples.values()]
        if schema["type"] == "boolean":
            values = ["true", "false"]
        assert values, f"{parameter['name']}: its schema needs an enum, or the parameter examples"
        for value in values:
            yield f"{parameter['name']}={value}"


def check(document: Any, operation: Any, status: int, body: object, headers: Mapping[str, str]) -> None:
    described = operation["responses"][str(status)]
    schema = {**described["content"]["application/json"]["schema"], "components": document["components"]}
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(body)
    for name, header in described.get("headers", {}).items():
        assert not header["required"] or name in headers


@pytest.mark.parametrize("wire", ["live", "spec"])
async def test_the_contract_names_every_operation(wire: Wire) -> None:
    async with served(wire) as (sandbox, _, document):
        assert (document["openapi"], document["servers"]) == ("3.1.0", [{"url": sandbox.url}])
        assert sandbox.requests == []
    named = {(method, path) for path, method, _ in operations(document)}
    assert named == {(method, path) for method, path, _, _ in routes(wire) if method != "*"}
    for _, _, operation in operations(document):
        assert {"200", "401", "429"} <= set(operation["responses"])
    for name, schema in document["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert name


@pytest.mark.parametrize("wire", ["live", "spec"])
async def test_responses_match_the_contract(wire: Wire) -> None:
    async with served(wire) as (sandbox, session, document):
        places = {"{session_id}": sandbox.session_ids[0].replace(":", "%3A"), "{profile_id}": "sales"}
        for path, method, operation in operations(document):
            name = operation["operationId"].replace("_", " ")
            for place, value in places.items():
                path = path.replace(place, value)
            queries = QUERIES.get(name) or list(optional_queries(operation))
            urls = [URL(f"{sandbox.url}{path}?{query}".rstrip("?"), encoded=True) for query in queries]
            for url in urls:
                for body in BODIES.get(name, [None]):
                    async with session.request(method, url, json=body) as response:
                        assert response.status == 200, (name, url, body)
                        check(document, operation, 200, await response.json(), response.headers)
            async with session.request(
                method, urls[-1], headers={"Authorization": "Basic wrong"}
            ) as response:
                assert response.status == 401
                check(document, operation, 401, await response.json(), response.headers)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/sessions/v2?uid=u-1&limit=", None, 400),
        ("GET", "/v2/sessions?uid=u-1&limit=", None, 400),
        ("GET", "/v2/sessions", None, 400),
        ("GET", "/v2/sessions?uid=u-1&session_uid=s", None, 400),
        ("GET", "/sessions/v2?uid=u-1&limit=%201", None, 400),
        ("GET", "/sessions/v2?uid=u-1&limit=1_0", None, 400),
        ("GET", "/sessions/v2?uid=u-1&limit=%D9%A3", None, 400),
        ("GET", "/v2/visit_profile?limit=", None, 400),
        ("GET", "/v2/visit_profile?pagination_token=x", None, 400),
        ("POST", "/v2/visit_profile", b'{"name": "n", "llm": {"temperature": NaN}}', 400),
        ("POST", "/v2/visit_profile", b'{"name": "n", "events": {"exclude_types": {"click": 1}}}', 400),
        ("POST", "/v2/visit_profile", b'{"name": "n", "context": {"include": ["weather"]}}', 400),
        ("POST", "/v2/visit_profile", b'{"name": "n", "llm": {"response_schema": {"type": "string"}}}', 400),
        ("POST", "/v2/visit_profile", b'{"name": "n", "llm": {"response_schema": {"enum": ["a"]}}}', 400),
        ("POST", "/v2/visit_profile", b'{"name": "n", "weather": null}', 200),
        ("POST", "/v2/visit_profile", b'{"name": "n", "slice": {"event_limit": 2.5}}', 400),
        ("POST", "/v2/visit_profile", b'{"name": "n", "slice": {"event_limit": 2.0}}', 200),
    ],
)  # fmt: skip
async def test_requests_that_the_contract_forbids_are_refused(
    method: str, path: str, body: bytes | None, status: int
) -> None:
    async with served("live") as (sandbox, session, _):
        async with session.request(method, URL(sandbox.url + path, encoded=True), data=body) as response:
            assert response.status == status


async def test_other_methods_are_refused_with_the_allowed_ones() -> None:
    async with served("live") as (sandbox, session, _):
        for method, path, allowed in (
            ("PUT", "/v2/visit_profile/x", "GET, POST, DELETE"),
            ("TRACE", "/me", "GET"),
            ("POST", "/v2/sessions", "GET"),
        ):
            async with session.request(method, sandbox.url + path) as response:
                assert (response.status, response.headers["Allow"]) == (405, allowed)
                assert (await response.json())["code"] == "method_not_allowed"
        async with session.put(f"{sandbox.url}/v2/nothing") as response:
            assert response.status == 404


@pytest.mark.skipif(
    "FULLSTORY_SCHEMATHESIS" not in os.environ, reason="takes a minute: nox -s schemathesis runs it"
)
@pytest.mark.timeout(2 * A_TEST)
@pytest.mark.parametrize("wire", ["live", "spec"])
async def test_schemathesis_finds_nothing(wire: Wire, tmp_path: Path) -> None:
    examples, seed = os.environ["FULLSTORY_SCHEMATHESIS"], os.environ.get("FULLSTORY_SCHEMATHESIS_SEED", "1")
    async with Sandbox(users=3, sessions=12, mean_events=10, wire=wire) as sandbox:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIGURATION, "run",
            f"{sandbox.url}/openapi.json", "--header", f"Authorization: Basic {sandbox.api_key}",
            "--max-examples",
            examples, "--seed", seed, "--no-color", cwd=tmp_path, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        report, _ = await process.communicate()
    assert process.returncode == 0, report.decode()
    assert {"events", "summary", "context", "create profile"} <= sandbox.stats()["by_operation"].keys()
    assert "500" not in sandbox.stats()["by_status"]
