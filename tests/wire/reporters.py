"""A program that reports errors of the client with real error reporters, for `test_reporters`.

It is a process of its own, because reporters change the whole process that they are in. It takes its secrets from the
environment, as programs do, and prints as JSON what each reporter would send or write, in its default settings.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast

import aiohttp

from fullstory_async import ClientConfig, FullStoryClient, RetryPolicy, Secret
from fullstory_async.cluster import Postgres, PostgresLedger, RedisRateLimiter
from tests.wire.servers import FAST, Connection, http, raw_server

Report = Callable[[BaseException], None]
NOWHERE = "http://127.0.0.1:9"


def variable(name: str) -> str:
    return os.environ[f"CANARY_{name}"]


@contextmanager
def sentry(sent: list[str]) -> Iterator[Report]:
    sdk = import_module("sentry_sdk")

    class Kept(sdk.transport.Transport):  # type: ignore[misc, name-defined]
        def capture_envelope(self, envelope: Any) -> None:
            sent.append(envelope.serialize().decode())

    sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Kept)
    yield sdk.capture_exception
    sdk.flush()


@contextmanager
def rich(sent: list[str]) -> Iterator[Report]:
    console, traceback = import_module("rich.console"), import_module("rich.traceback")

    def report(error: BaseException) -> None:
        file = io.StringIO()
        printed = traceback.Traceback.from_exception(
            type(error), error, error.__traceback__, show_locals=True, locals_max_string=None, locals_max_length=None
        )  # fmt: skip
        console.Console(file=file, width=2000).print(printed)
        sent.append(file.getvalue())

    yield report


@contextmanager
def structlog(sent: list[str]) -> Iterator[Report]:
    module = import_module("structlog")
    as_json = module.processors.JSONRenderer()

    def report(error: BaseException) -> None:
        event = {"event": "failed", "exc_info": error, "config": getattr(error, "config", None)}
        sent.append(as_json(None, "error", module.processors.dict_tracebacks(None, "error", {**event})))
        console = module.dev.ConsoleRenderer(
            exception_formatter=module.dev.RichTracebackFormatter(show_locals=True)
        )
        with_stderr(lambda: sent.append(console(None, "error", {**event})))

    yield report


@contextmanager
def elastic(sent: list[str]) -> Iterator[Report]:
    module = import_module("elasticapm")

    class Kept(module.Client):  # type: ignore[misc, name-defined]
        def queue(self, event_type: str, data: Any, flush: bool = False) -> None:
            sent.append(json.dumps([event_type, data], default=str))

    client = Kept(service_name="test", server_url=NOWHERE, central_config="false", cloud_provider="none")

    def report(error: BaseException) -> None:
        client.capture_exception(exc_info=(type(error), error, error.__traceback__))

    yield report
    client.close()


@contextmanager
def rollbar(sent: list[str]) -> Iterator[Report]:
    module = cast("Any", import_module("rollbar"))
    module.init("token", "test", handler="blocking")
    module.send_payload = lambda payload, *_: sent.append(json.dumps(payload, default=str))

    def report(error: BaseException) -> None:
        module.report_exc_info((type(error), error, error.__traceback__))

    yield report


REPORTERS = {
    "sentry_sdk": sentry,
    "rich": rich,
    "structlog": structlog,
    "elasticapm": elastic,
    "rollbar": rollbar,
}


def with_stderr(run: Callable[[], object]) -> None:
    """Keep standard output for the result."""
    before, sys.stdout = sys.stdout, sys.stderr
    try:
        run()
    finally:
        sys.stdout = before


async def quote(connection: Connection) -> None:
    """Refuse, and quote all headers and the query."""
    said = connection.head.decode("latin-1")
    await connection.send(
        http(
            json.dumps({"code": "no", "message": said}).encode(),
            "400 Bad Request",
            X_Said=said.replace("\r\n", " "),
        )
    )


async def fall_silent(connection: Connection) -> None:
    await asyncio.Event().wait()


async def careless(client: FullStoryClient, url: str) -> None:
    """Do with the key what programs do, in a frame that holds all that they have."""
    config, key, network = client.config, client.config.api_key, client.config.network
    kept = [
        config,
        key,
        network,
        client,
        {"Authorization": key, "proxy": config.proxy},
        attrs_of(config),
        url,
    ]
    mistakes: list[Callable[[], object]] = [
        lambda: cast("Any", "Basic ") + key, lambda: cast("Any", key)[:4], lambda: len(cast("Any", key)), lambda: int(f"{key} {key!r:.9}"),
        lambda: "".join([cast("Any", key)]), lambda: json.dumps(kept), lambda: cast("Any", key).encode(),
    ]  # fmt: skip
    last: Exception | None = None
    for mistake in mistakes:
        try:
            mistake()
        except (TypeError, ValueError, AttributeError) as error:
            last = error
    raise RuntimeError("all of it failed") from last


def attrs_of(config: ClientConfig) -> dict[str, object]:
    return {
        name: getattr(config, name) for name in ("api_key", "proxy", "proxy_auth", "client_cert", "network")
    }


def settings(**more: Any) -> ClientConfig:
    fixed = {
        "rate_limit": FAST,
        "retry": RetryPolicy(attempts=1),
        "read_timeout": 0.2,
        "connect_timeout": 0.5,
    }
    return ClientConfig(api_key=variable("KEY"), **{**fixed, **more})


async def call(
    config: ClientConfig, do: Callable[[FullStoryClient], Awaitable[object]], **parts: Any
) -> None:
    async with FullStoryClient(config=config, **parts) as client:
        await do(client)


async def list_sessions(client: FullStoryClient) -> None:
    await client.sessions.list(email=variable("EMAIL"))


async def events(client: FullStoryClient) -> None:
    await client.sessions.events("1:2")


async def given_session(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        await call(settings(base_url=url), events, session=session)


async def cancelled(url: str) -> None:
    async with asyncio.timeout(0.1):
        await call(settings(base_url=url, read_timeout=5), events)


async def limited(url: str) -> None:
    """Fail because Redis can't be reached, with its URL at hand."""
    config = settings(base_url=url)
    async with RedisRateLimiter(variable("REDIS"), config, timeout=0.5) as limiter:
        await call(config, events, limiter=limiter)


async def counted(url: str) -> None:
    """Fail because Postgres can't be reached, with its DSN at hand."""
    config = settings(base_url=url)
    database = Postgres(variable("POSTGRES"), timeout=0.5)
    await call(config, events, ledger=PostgresLedger(database, config.key_fingerprint))


def mistakes(quoting: str, silent: str) -> dict[str, Callable[[], object]]:
    """Return what goes wrong: each raises."""
    proxied = {"proxy": Secret(variable("PROXY")), "allow_http": True}
    unknown = cast("dict[str, Any]", {"ratelimit": 5})
    return {
        "a misspelt setting": lambda: ClientConfig(api_key=variable("KEY"), proxy=variable("PROXY"), **unknown),
        "a misspelt setting of the client": lambda: FullStoryClient(variable("KEY"), **unknown),
        "a misspelt setting of the limiter": lambda: RedisRateLimiter(variable("REDIS"), settings(), **unknown),
        "a wrong type": lambda: settings(rate_limit=5),
        "a wrong type of the client": lambda: FullStoryClient(Secret(variable("KEY")), limiter=cast("Any", 5)),
        "a wrong type of the limiter": lambda: RedisRateLimiter(cast("Any", variable("REDIS").encode()), settings()),
        "a wrong URL of Redis": lambda: RedisRateLimiter(variable("REDIS").replace("redis:", "http:"), settings()),
        "a refusal that quotes": lambda: call(settings(base_url=quoting), list_sessions),
        "a given session": lambda: given_session(quoting),
        "silence": lambda: call(settings(base_url=silent), events),
        "cancelled": lambda: cancelled(silent),
        "no connection": lambda: call(settings(base_url=NOWHERE), list_sessions),
        "a proxy that is away": lambda: call(settings(base_url="http://api.test", **proxied), events),
        "a tunnel through it": lambda: call(settings(base_url="https://api.test", **proxied), events),
        "no Redis": lambda: limited(quoting),
        "no Postgres": lambda: counted(quoting),
        "a misspelt setting of the database": lambda: Postgres(variable("POSTGRES"), **unknown),
        "a careless program": lambda: call(settings(base_url=quoting, **proxied), lambda client: careless(client, quoting)),
    }  # fmt: skip


async def report_each(report: Report, quoting: str, silent: str) -> int:
    """Make everything go wrong, and report it; return how often. No variable here holds a secret."""
    count = 0
    for name, go_wrong in mistakes(quoting, silent).items():
        try:
            going = go_wrong()
            if asyncio.iscoroutine(going):
                await going
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # as a program's outermost handler
            error.add_note(name)
            report(error)
            count += 1
    return count


async def report_all(report: Report) -> int:
    """Report what goes wrong with servers that run elsewhere: their variables hold all requests."""
    async with raw_server(quote) as quoting, raw_server(fall_silent) as silent:
        return await report_each(report, quoting.url, silent.url)


def main() -> None:
    """Print what each reporter would send, and how many errors there were."""
    sent: dict[str, object] = {}
    for name, reporter in REPORTERS.items():
        texts: list[str] = []
        with reporter(texts) as report:
            count = asyncio.run(report_all(report))
        sent[name] = {"errors": count, "texts": texts}
    json.dump(sent, sys.stdout)


if __name__ == "__main__":
    main()
