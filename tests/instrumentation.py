"""Others' instrumentation of aiohttp, on a client with `redact_traces`: ``nox -s instrumentation``.

Each instrumentation patches aiohttp for the whole process and can't be taken back, so each has a process of its own. It has to
export every request, name no user unless the option is off, and send its trace's context with each request.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from fullstory_async import ClientConfig, FullStoryClient

EMAIL, UID = "ada@example.com", "user-4711"
CONTEXTS = {"sentry_sdk": b"sentry-trace: ", "opentelemetry": b"traceparent: "}
PACKAGES = {"sentry_sdk": "sentry-sdk", "opentelemetry": "opentelemetry-instrumentation-aiohttp-client"}


def with_sentry() -> tuple[Callable[[], Any], Callable[[], str]]:
    """Turn Sentry on; return a function that starts a trace, and one that returns all that it exported."""
    sdk, sent = import_module("sentry_sdk"), list[Any]()

    class Kept(import_module("sentry_sdk.transport").Transport):  # type: ignore[misc]
        def capture_envelope(self, envelope: Any) -> None:
            sent.extend(item.payload.json for item in envelope.items)

    sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Kept, traces_sample_rate=1.0, send_default_pii=True)

    def export() -> str:
        sdk.capture_message("with the breadcrumbs")
        return json.dumps(sent)

    return lambda: sdk.start_transaction(name="calls"), export


def with_opentelemetry() -> tuple[Callable[[], Any], Callable[[], str]]:
    """Turn OpenTelemetry on, as `with_sentry` does with Sentry."""
    sdk = import_module("opentelemetry.sdk.trace")
    export = import_module("opentelemetry.sdk.trace.export")
    memory = import_module("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(memory))
    client = import_module("opentelemetry.instrumentation.aiohttp_client")
    client.AioHttpClientInstrumentor().instrument(tracer_provider=provider)
    return contextlib.nullcontext, lambda: "".join(span.to_json() for span in memory.get_finished_spans())


async def calls(*, redacts: bool) -> list[bytes]:
    """List twice and fetch a session's events; return the heads of the requests that were sent."""
    heads = list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                body = b'{"events":[]}' if b"/events" in heads[-1] else b'{"sessions":[]}'
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        config = ClientConfig(api_key="na1.a2V5", base_url=url, redact_traces=redacts)
        async with FullStoryClient(config=config) as client:
            await client.sessions.list(email=EMAIL)
            await client.sessions.list(uid=UID)
            await client.sessions.events("1:2")
    return heads


def run_one(name: str, *, redacts: bool) -> None:
    """Check one instrumentation in this process."""
    trace, export = {"sentry_sdk": with_sentry, "opentelemetry": with_opentelemetry}[name]()
    with trace():
        heads = asyncio.run(calls(redacts=redacts))
    exported = export()
    found = {
        "requests sent": len(heads),
        "requests sent with its context": sum(CONTEXTS[name] in head for head in heads),
        "users in the requests sent": [who.encode() in b"".join(heads) for who in (EMAIL, UID)],
        "paths exported": sorted(set(re.findall(r"127\.0\.0\.1:\d+(/[\w/]*)", exported))),
        "users exported": [who in exported for who in (EMAIL, UID)],
    }
    expected = {
        "requests sent": 3,
        "requests sent with its context": 3,
        "users in the requests sent": [True, True],
        "paths exported": ["/sessions/v2", "/v2/sessions/1"],
        "users exported": [not redacts] * 2,
    }
    if found != expected:
        sys.exit(f"{name}, redact_traces={redacts}: {found}, not {expected}")


def main() -> None:
    """Check each instrumentation in a process of its own, with the option and without."""
    if len(sys.argv) == 3:
        run_one(sys.argv[1], redacts=sys.argv[2] == "on")
        return
    for name, package in PACKAGES.items():
        for option in ("on", "off"):
            subprocess.run([sys.executable, "-m", "tests.instrumentation", name, option], check=True)
        sys.stdout.write(f"{package} {importlib.metadata.version(package)}: as it should be\n")


if __name__ == "__main__":
    main()
