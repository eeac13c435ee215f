"""The canary: a known key, e-mail, uid and replay URL, and every fault; none of them shows up in anything that prints itself.

Looked at are all log records at DEBUG (asyncio's debug mode included), the errors and what they are chained to as text, as
repr, as traceback with the variables of every frame, and as pickle; what a cancelled call leaves; the objects at hand; the
command line's output; and, for the key, the bytes of every file. The frames of this test itself hold the canaries and are left out.
"""

from __future__ import annotations

import asyncio
import base64
import json
import linecache
import logging
import pickle
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from html import escape
from pathlib import Path
from typing import Any, TypeVar, cast
from unittest.mock import patch
from urllib.parse import quote, unquote_plus

import aiohttp
import attrs
import pytest

from fullstory_async import (
    ActivationLedger,
    ClientConfig,
    ConfigurationError,
    FanOut,
    FullStoryClient,
    FullStoryError,
    Hooks,
    KeyOwner,
    LLMOptions,
    ProfileConfiguration,
    RequestSent,
    RequestThrottled,
    ResponseCache,
    ResponseReceived,
    RetryPlanned,
    RetryPolicy,
    Secret,
    Session,
    SessionEvent,
)
from fullstory_async.http.transport.session import Transport
from fullstory_async.jobs import Job, JobPlan
from fullstory_async.sandbox import Fault, Sandbox
from tests.cli.forked import Forks
from tests.wire import test_transport
from tests.wire.servers import FAST, KEY, Calls, Connection, Handler, client_of, http, raw_server
from tests.wire.test_faults_catalogue import TABLE

EMAIL = "canary.person+1@example.org"
UID = "uid canary/7"
URL = "https://app.fullstory.com/ui/CANARY-ORG/session/1:2"
PROXY_USER, PROXY_PASSWORD = "canary-user", "canary/secret+1"
PROXY_TOKEN = base64.b64encode(f"{PROXY_USER}:{PROXY_PASSWORD}".encode()).decode()
CANARIES = {
    "the key": (KEY, KEY.replace("/", "\\/")),
    "the e-mail": (EMAIL, "canary.person"),
    "the uid": (UID, "uid+canary", "uid%20canary"),
    "the replay URL": ("CANARY-ORG",),
    "the proxy's login": (PROXY_USER, PROXY_PASSWORD, quote(PROXY_PASSWORD, safe=""), PROXY_TOKEN),
}
T = TypeVar("T")
TESTS = str(Path(__file__).parent.parent)
BROKEN_LIST = b'{"sessions":[{"sessionId":"1:2","fsUrl":"%s"},{"sessionId":["%s"]}]}' % (
    URL.encode(),
    EMAIL.encode(),
)
BROKEN_EVENT = (
    b'{"events":[{"event_type":"navigate","source_properties":{"url":"%s"}},{"event_type":["x"]}]}'
    % URL.encode()
)


def quoting(answer: Callable[[str], bytes]) -> Handler:
    """Answer with what was asked and the key, as some services and gateways do."""

    async def handler(connection: Connection) -> None:
        line, *headers = connection.head.decode().split("\r\n")
        target = line.split(" ")[1]
        key = next(header for header in headers if header.startswith("Authorization"))
        await connection.send(answer(f"{target} {unquote_plus(target)} {key}"))
        connection.writer.close()

    return handler


RAW_FAULTS: dict[str, Handler] = {
    **{name: handler for name, (handler, _) in test_transport.FAULTS.items()},
    "a refusal that quotes": quoting(lambda said: http(json.dumps({"code": said, "message": f"no {said}"}).encode(), "400 Bad Request", X_Said=said)),
    "a page that quotes": quoting(lambda said: http(f"<html>{escape(said)}</html>".encode(), "502 Bad Gateway", Content_Type="text/html")),
    "a sign-in page that quotes": quoting(lambda said: http(f"<html><a href='https://portal.test/?{said}'>Sign in, {escape(said)}</a></html>".encode(), Content_Type="text/html", X_From=said)),
    "another API that quotes": quoting(lambda said: http(json.dumps({"url": said, "headers": {"Authorization": said}}).encode())),
    "an error in a success that quotes": quoting(lambda said: http(json.dumps({"code": said, "message": f"no {said}"}).encode())),
    "a status line that quotes": quoting(lambda said: f"HTTP/1.1 2x0 {said}\r\n\r\n".encode()),
    "a redirect that quotes": quoting(lambda said: http(b"", "302 Found", Location=f"https://other.test/?said={said}")),
    "an answer of another shape": test_transport.answering(http(BROKEN_LIST)),
    "events of another shape": test_transport.answering(http(BROKEN_EVENT)),
    "an answer that ends early": test_transport.answering(http(BROKEN_LIST[:-4])),
    "an answer that is too large": test_transport.answering(http(BROKEN_LIST + b" " * 20_000)),
}  # fmt: skip
_STATUSES = [Fault.status(status) for status in (401, 403, 404, 409, 418, 429, 500)]
SANDBOX_FAULTS = [*_STATUSES, *{row.fault.name.partition("(")[0]: row.fault for row in TABLE}.values()]
"""Every fault of the catalogue, with one set of parameters each."""


class Watch(logging.Handler):
    """Collects everything that shows itself."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.shown: list[tuple[str, str]] = []
        self.kinds: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        self.shown.append(
            (f"log {record.name}", record.getMessage() + repr(record.args) + str(record.exc_text))
        )
        if record.exc_info and record.exc_info[1] is not None:
            self.error("log", record.exc_info[1])

    def error(self, where: str, error: BaseException | None) -> None:
        """Take an exception, and all that it is chained to, whether it is shown or not."""
        self.kinds[type(error).__name__] += 1
        while error is not None:
            self.shown.append((f"{where}: text", f"{error} {error!r} {error.args!r}"))
            if isinstance(error, FullStoryError):
                self.shown.append((f"{where}: attributes", repr(vars(error))))
                self.pickled(where, error)
            self.shown.append((f"{where}: traceback", "".join(traceback.format_exception(error))))
            for frame in traceback.TracebackException.from_exception(error, capture_locals=True).stack:
                if not frame.filename.startswith(TESTS):
                    place = f"{where}: {frame.filename}:{frame.lineno} {frame.name}"
                    self.shown += [(f"{place} {name}", text) for name, text in (frame.locals or {}).items()]
            error = error.__cause__ or error.__context__

    def told(self, event: RequestSent | RequestThrottled | ResponseReceived | RetryPlanned) -> None:
        self.shown.append(("hook", repr(event)))

    def pickled(self, where: str, error: FullStoryError) -> None:
        body, name = (error.response.body, "answer") if error.response else (b"", "")
        shown = pickle.dumps(error).decode("latin-1")
        if error.response is not None and error.response.is_success:  # which was paid for, and is kept
            shown = shown.replace(body.decode("latin-1"), name)
        self.shown.append((f"{where}: pickle", shown))

    def leaks(self) -> list[tuple[str, str, str]]:
        return [
            (what, where, text[:300])
            for where, text in self.shown
            for what, forms in CANARIES.items()
            if any(form in text for form in forms)
        ]


@asynccontextmanager
async def watching() -> AsyncIterator[Watch]:
    watch, root, loop = Watch(), logging.getLogger(), asyncio.get_running_loop()
    loggers = [
        root,
        *(logging.getLogger(n) for n in ("asyncio", "aiohttp", "aiohttp.client", "fullstory_async")),
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    root.addHandler(watch)
    loop.set_debug(True)
    try:
        # the debug mode takes 10 000 stacks: each looks whether any of its files has changed, and those of
        # futures in C are whole, with their source lines. Tracebacks of exceptions are not made by `extract`.
        extract = traceback.StackSummary.extract
        with (
            patch.object(linecache, "checkcache", lambda filename: None),
            patch.object(
                traceback.StackSummary,
                "extract",
                lambda frames, **_: extract(frames, limit=10, lookup_lines=False),
            ),
        ):
            yield watch
    finally:
        loop.set_debug(False)
        root.removeHandler(watch)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


async def streamed(client: FullStoryClient) -> list[SessionEvent]:
    async with aclosing(client.sessions.stream_events("1:2")) as events:
        return [event async for event in events]


async def paged(client: FullStoryClient) -> list[Session]:
    return [session async for session in client.sessions.list(email=EMAIL, uid=UID, limit=None)]


CALLS: Calls = {
    "list": lambda client: client.sessions.list(email=EMAIL, uid=UID)._first(),
    "pages": paged,
    "one": lambda client: client.sessions.list(session_uid=UID)._first(),
    "events": lambda client: client.sessions.events("1:2"),
    "stream": streamed,
    "summary": lambda client: client.sessions.summary("1:2"),
    "context": lambda client: client.sessions.context("1:2"),
    "whoami": lambda client: client.whoami(),
}  # fmt: skip


async def attempt(watch: Watch, where: str, client: FullStoryClient, seconds: float = 0.4) -> None:
    async def one(name: str, call: Callable[[FullStoryClient], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(4 * seconds):  # a stream has its time for each piece
                watch.shown.append((f"{where} {name}: result", repr(await call(client))))
        except (FullStoryError, TimeoutError) as error:
            watch.error(f"{where} {name}", error)

    await asyncio.gather(*(one(name, call) for name, call in CALLS.items()))
    watch.shown.append(
        (where, repr(client) + repr(client.config) + repr(client.stats) + repr(client.limiter))
    )


def seen_enough(watch: Watch, *kinds: str) -> None:
    assert set(kinds) <= set(watch.kinds), watch.kinds
    assert watch.leaks() == []


PATIENCE = (0.4, 3.0)
"""Seconds for an answer, and those on a machine so busy that hardly one comes in that time."""


async def against_all(
    cases: Iterable[T], one: Callable[[Watch, float, T], Awaitable[None]], *kinds: str
) -> Watch:
    """Try one fault after the other, six at a time, until all these kinds of errors were seen."""
    few, last = asyncio.Semaphore(6), Watch()

    async def in_turn(watch: Watch, seconds: float, case: T) -> None:
        async with few:
            await one(watch, seconds, case)

    for seconds in PATIENCE:
        async with watching() as watch:
            await asyncio.gather(*(in_turn(watch, seconds, case) for case in cases))
            await asyncio.sleep(0.3)  # the server's last answers
        watch.shown = [(where, text) for where, text in watch.shown if "aiohttp.access" not in where]
        assert watch.leaks() == []
        last = watch
        if set(kinds) <= set(watch.kinds):
            break
    seen_enough(last, *kinds)
    return last


async def test_no_fault_of_a_server_shows_a_canary() -> None:
    async def one(watch: Watch, seconds: float, case: tuple[str, Handler]) -> None:
        name, handler = case
        times: dict[str, Any] = dict.fromkeys(
            ("connect_timeout", "read_timeout", "summary_read_timeout"), seconds
        )
        retry = RetryPolicy(attempts=2, wait_initial=0.001, wait_jitter=0)
        async with raw_server(handler) as server:
            async with client_of(server.url, **times, max_response_bytes=10_000, retry=retry) as client:
                await attempt(watch, name, client, seconds)

    watch = await against_all(
        RAW_FAULTS.items(), one, "ProtocolError", "APITimeoutError", "UnexpectedRedirect", "DecodeError",
        "UnexpectedResponseError", "ErrorInSuccess", "ResponseTooLarge", "BadRequestError", "ServerError",
    )  # fmt: skip
    assert "[the API key]" in str(watch.shown)
    assert "email=[the email]&uid=[the uid]" in str(watch.shown)


async def test_no_fault_of_the_sandbox_shows_a_canary() -> None:
    async def one(watch: Watch, seconds: float, fault: Fault) -> None:
        async with Sandbox(users=1, sessions=1, mean_events=2) as sandbox:
            sandbox.api_key = KEY
            config = ClientConfig(api_key=KEY, base_url=sandbox.url, rate_limit=FAST, read_timeout=seconds, summary_read_timeout=seconds, max_response_bytes=2**20,
                                  retry=RetryPolicy(attempts=2, wait_initial=0.001, wait_jitter=0), max_wait=0.1)  # fmt: skip
            told = Hooks(
                on_request=watch.told, on_response=watch.told, on_retry=watch.told, on_throttle=watch.told
            )
            async with FullStoryClient(config=config, hooks=told) as client:
                sandbox.inject(fault, times=None)
                await attempt(watch, fault.name, client, seconds)

    await against_all(
        SANDBOX_FAULTS, one, "AuthenticationError", "RateLimitedError", "APIStatusError", "NotFoundError"
    )


@pytest.mark.parametrize("where", ["waiting", "reading", "connecting", "in line"])
async def test_a_cancelled_call_shows_no_canary(where: str) -> None:
    """Its traceback goes through aiohttp, whose frames hold the headers and the address."""
    listener, fillers = await test_transport.silent_listener()

    async def call(client: FullStoryClient, make: Callable[[FullStoryClient], Awaitable[object]]) -> object:
        return await make(client)

    handler = test_transport.drip if where == "reading" else test_transport.hang
    async with raw_server(handler) as server, watching() as watch:
        connecting = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
            own = session if where == "in line" else None
            async with client_of(connecting if where == "connecting" else server.url, session=own) as client:
                tasks = [asyncio.create_task(call(client, make)) for make in CALLS.values()]
                await asyncio.sleep(0.3)
                for task in tasks:
                    watch.shown.append((where, repr(task) + repr(task.get_stack())))
                    task.cancel("enough")
                for task in tasks:
                    with pytest.raises(asyncio.CancelledError) as caught:
                        await task
                    watch.error(where, caught.value)
                    assert task.cancelled()
                    assert caught.value.args == ("enough",)
    for each in (listener, *fillers):
        each.close()
    seen_enough(watch, "CancelledError")


async def test_a_cancelled_call_is_cancelled_as_ever() -> None:
    """That it leaves without its frames changes nothing for timeouts, groups and those who cancel twice."""
    async with raw_server(test_transport.hang) as server, client_of(server.url) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.sessions.events("1:2")
        assert (this := asyncio.current_task()) is not None
        assert this.cancelling() == 0
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(client.sessions.events("1:2"))
                await asyncio.sleep(0.05)
                raise ValueError("mine")
        assert len(caught.value.exceptions) == 1
        assert client.stats.activations_at_risk == 2


def test_what_holds_a_canary_does_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A given key, refused settings, and the models whose fields they are."""
    watch = Watch()
    monkeypatch.setenv("FULLSTORY_API_KEY", KEY)
    for make in (
        lambda: ClientConfig(base_url="http://api.test"),
        lambda: ClientConfig(api_key=KEY, base_url="http://api.test"),
        lambda: ClientConfig(api_key=f"'{KEY}'"),
        lambda: ClientConfig(api_key=KEY, read_timeout=-1),
        lambda: FullStoryClient(KEY, config=cast("Any", 5)),
        lambda: FullStoryClient(f"{KEY} x"),
        lambda: FullStoryClient(KEY, session=cast("Any", 5)),
    ):
        with pytest.raises(ConfigurationError) as caught:
            make()
        watch.error("refused", caught.value)
    client = FullStoryClient(KEY)
    transport = Transport(client.config)
    held = [getattr(transport, name, None) for name in Transport.__slots__]
    session = Session(session_id="2", user_id="1", url=URL)
    for value in (client, client.config, held, session, KeyOwner(email=EMAIL), Secret(KEY)):
        watch.shown.append(("repr", repr(value)))
    watch.shown.append(("pickle", pickle.dumps(client.config).decode("latin-1")))
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(client.config.api_key)
    seen_enough(watch, "ConfigurationError")


@pytest.mark.row(100)
@pytest.mark.parametrize("is_own", [True, False])
async def test_row_100_the_header_is_on_a_request_only_while_it_is_written(is_own: bool) -> None:
    """What instrumentation of aiohttp gets to see holds no key: before, in errors, and with the response."""
    seen: list[str] = []
    responses: list[aiohttp.ClientResponse] = []

    async def note(*args: Any) -> None:
        params = args[-1]
        responses.extend([params.response] if hasattr(params, "response") else [])
        seen.append(f"{type(params).__name__} {params}")

    config = aiohttp.TraceConfig()
    for signal in (
        config.on_request_start, config.on_request_end, config.on_request_exception,
        config.on_connection_create_start, config.on_response_chunk_received, config.on_request_chunk_sent,
    ):  # fmt: skip
        signal.append(note)
    async with raw_server(test_transport.answering(http(b"{}"))) as server:
        async with aiohttp.ClientSession(trace_configs=[config]) as given:
            async with client_of(server.url, session=None if is_own else given) as client:
                if is_own:
                    session = cast("aiohttp.ClientSession", client._transport.check())
                    config.freeze()
                    session._trace_configs.append(config)
                    assert "uthorization" not in session.headers
                await client.sessions.events("1:2")
                await client.sessions.context("1:2")
    assert [head.count(f"Authorization: Basic {KEY}\r\n".encode()) for head in server.requests] == [1, 1]
    assert len(responses) == 2
    assert [
        str(response.request_info) for response in responses if "Accept" not in str(response.request_info)
    ] == []
    assert [
        text for text in [*seen, *map(str, (each.request_info for each in responses))] if KEY in text
    ] == []


def as_a_proxy(said: Callable[[str], bytes]) -> Handler:
    """Answer with all headers and the login in clear, as some proxies quote what they refuse."""

    async def handler(connection: Connection) -> None:
        head = connection.head.decode()
        await connection.send(said(f"{head} {PROXY_PASSWORD} {PROXY_TOKEN}"))
        connection.writer.close()

    return handler


PROXIES: dict[str, Handler] = {
    "a refusal": as_a_proxy(lambda said: http(said.encode(), "407 Proxy Authentication Required", Proxy_Authenticate="Basic")),
    "a policy": as_a_proxy(lambda said: http(f"<html>{escape(said)}</html>".encode(), "403 Filtered", Content_Type="text/html")),
    "an outage": as_a_proxy(lambda said: http(f"<html>{escape(said)}</html>".encode(), "502 Bad Gateway", Content_Type="text/html")),
    "a wrong status line": as_a_proxy(lambda said: f"HTTP/1.1 2x0 {PROXY_TOKEN}\r\n\r\n".encode()),
    "an answer that quotes": as_a_proxy(lambda said: http(json.dumps({"code": said, "message": f"no {said}"}).encode(), "400 Bad Request", X_Said=PROXY_TOKEN)),
    "a page": as_a_proxy(lambda said: http(f"<html>Sign in, {escape(said)}</html>".encode(), Content_Type="text/html")),
    "silence": test_transport.hang,
    "a reset": test_transport.reset,
}  # fmt: skip


@pytest.mark.row(83)
@pytest.mark.parametrize("name", PROXIES)
async def test_no_proxy_makes_anything_show_its_login(name: str) -> None:
    async with watching() as watch, raw_server(PROXIES[name]) as proxy:
        for number, url in enumerate(("https://api.test", "http://api.test")):
            settings: dict[str, Any] = {
                "allow_http": True,
                "proxy": proxy.url,
                "read_timeout": 0.1,
                "connect_timeout": 0.1,
            }
            if number:
                settings["proxy"] = proxy.url.replace(
                    "//", f"//{PROXY_USER}:{quote(PROXY_PASSWORD, safe='')}@"
                )
            else:
                settings["proxy_auth"] = (PROXY_USER, PROXY_PASSWORD)
            async with client_of(url, summary_read_timeout=0.1, **settings) as client:
                await attempt(watch, f"{name} {url}", client)
                watch.shown.append(
                    ("network", repr(client.config.network) + repr(attrs.asdict(client.config)))
                )
                watch.shown.append(("pickle", pickle.dumps(client.config).decode("latin-1")))
    assert any(PROXY_TOKEN.encode() in head for head in proxy.requests)
    assert not any(KEY.encode() in head for head in proxy.requests if head.startswith(b"CONNECT"))
    assert watch.leaks() == []


async def test_the_command_line_shows_no_canary(forks: Forks, tmp_path: Path) -> None:
    async def run(*arguments: str) -> str:
        ended = await asyncio.to_thread(
            forks.run, *arguments, cwd=tmp_path, environment={"FULLSTORY_API_KEY": KEY}
        )
        return ended.out + ended.err

    who = ("--email", EMAIL, "--uid", UID, "--verbose")
    login = f"{PROXY_USER}:{quote(PROXY_PASSWORD, safe='')}@"
    async with raw_server(RAW_FAULTS["a refusal that quotes"]) as server:
        through = (
            "--allow-http",
            "--base-url",
            "http://api.test",
            "--proxy",
            server.url.replace("//", f"//{login}"),
        )
        printed = await asyncio.gather(
            run("sessions", *who, "--base-url", server.url), run("sessions", *who, "--base-url", "http://x.test"),
            run("whoami", "--help"), run("sessions", *who, *through), run("whoami", "--proxy", f"socks5://{login}x"),
        )  # fmt: skip
    watch = Watch()
    watch.shown += [("printed", each) for each in printed]
    assert "[the email]" in printed[0]
    assert "unencrypted" in printed[1]
    assert watch.leaks() == []


async def test_no_file_holds_the_key(tmp_path: Path) -> None:
    async def handler(connection: Connection) -> None:
        kept = b"/summary" in connection.head.split(b"\r\n")[0]
        await (
            connection.send(http(b'{"summary":"x"}'))
            if kept
            else RAW_FAULTS["a refusal that quotes"](connection)
        )

    cache, ledger = ResponseCache(tmp_path / "cache"), ActivationLedger(tmp_path / "ledger")
    async with raw_server(handler) as server:
        async with client_of(server.url, cache=cache, ledger=ledger) as client:
            await client.sessions.summary("1:2")
            async with Job.open(
                tmp_path / "job", client=client, plan=JobPlan(events=True, summary="p")
            ) as job:
                await job.add(["1:2"])
                await job.run()
                assert [failure.status async for failure in job.failures()] == [400]
                found = list(tmp_path.rglob("*"))  # noqa: ASYNC240  # nothing else runs
                files = {file.name: file.read_bytes() for file in found if file.is_file()}
    assert {"cache", "ledger", "job.sqlite3", "job.sqlite3-wal"} <= set(files)
    assert b"[the API key]" in files["job.sqlite3-wal"]
    assert [name for name, content in files.items() if KEY.encode() in content] == []


@pytest.mark.parametrize("escaped", ["+/=", "+/=.@"])
async def test_what_a_server_escapes_is_recognised(escaped: str) -> None:
    """As System.Text.Json and others write ``+``, and with the case that a directory knows."""

    def written(text: str) -> str:
        return "".join(f"\\u{ord(char):04X}" if char in escaped else char for char in text)

    said = f'{{"code":"x","message":"no {written(KEY)} for {written(EMAIL.upper())}"}}'
    async with raw_server(test_transport.answering(http(said.encode(), "400 Bad Request"))) as server:
        async with client_of(server.url) as client:
            with pytest.raises(FullStoryError) as caught:
                await client.sessions.list(email=EMAIL)
    assert caught.value.message == "no [the API key] for [the email]"
    assert caught.value.response is not None
    assert b"no [the API key] for [the email]" in caught.value.response.body


@pytest.mark.parametrize(
    "said", [b'{"x":"%s"}\r\n\r\n', b"HTTP/1.1 200 OK\r\nX\x01%s: y\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n"],
)  # fmt: skip
async def test_what_is_no_http_is_not_quoted(said: bytes) -> None:
    async def handler(connection: Connection) -> None:
        await connection.send(said % b"person@private.test")
        connection.writer.close()

    async with raw_server(handler) as server, client_of(server.url) as client:
        with pytest.raises(FullStoryError) as caught:
            await client.sessions.events("1:2")
    assert "person" not in str(caught.value) + repr(caught.value)


ASKED = "asked canary/9"
PROMPT = ProfileConfiguration(llm=LLMOptions(pre_prompt=ASKED))
REFUSED: dict[str, Callable[[Any], Any]] = {  # some with arguments of a wrong type
    "query": lambda client: client.sessions.events("1:2", extra_query={"q": ASKED, "odd": ASKED.encode()}),
    "header": lambda client: client.sessions.events("1:2", extra_headers={"X-Said": f"{ASKED}\n"}),
    "surrogate": lambda client: client.sessions.list(uid="u", extra_query={"q": f"{ASKED}\ud800"}),
    "limit": lambda client: client.sessions.list(email=EMAIL, limit=0),
    "id": lambda client: client.sessions.summary("../x", overrides=PROMPT),
    "overrides": lambda client: client.sessions.summary("1:2", config_profile_id=5, overrides=PROMPT),
    "many": lambda client: client.sessions.summaries_many(5, overrides=PROMPT),
    "stream": lambda client: client.sessions.stream_events("../x", extra_query={"q": ASKED}),
    "profile": lambda client: client.profiles.create("", PROMPT),
    "unknown": lambda client: client.sessions.summary("1:2", overrides=PROMPT, nonsense=ASKED),
}
FAILED: Calls = {
    "events": lambda client: client.sessions.events("1:2", extra_query={"q": ASKED}),
    "list": lambda client: client.sessions.list(email=EMAIL, extra_query={"q": ASKED})._first(),
    "stream": lambda client: anext(client.sessions.stream_events("1:2", extra_query={"q": ASKED})),
    "context": lambda client: client.sessions.context("1:2", extra_headers={"X-Said": ASKED}),
    "summary": lambda client: client.sessions.summary("1:2", overrides=PROMPT, extra_query={"q": ASKED}),
    "create": lambda client: client.profiles.create(ASKED, PROMPT),
    "update": lambda client: client.profiles.update("p", name=ASKED, configuration=PROMPT),
    "whoami": lambda client: client.whoami(extra_query={"q": ASKED}),
    "events_many": lambda client: failed_outcome(
        client.sessions.events_many(["1:2"], extra_query={"q": ASKED})
    ),
    "contexts_many": lambda client: failed_outcome(
        client.sessions.contexts_many(["1:2"], extra_headers={"X-Said": ASKED})
    ),
    "summaries_many": lambda client: failed_outcome(
        client.sessions.summaries_many(["1:2"], overrides=PROMPT, extra_query={"q": ASKED})
    ),
}


async def failed_outcome(results: FanOut[Any]) -> None:
    """Raise the error that a fan-out delivers as an outcome, as a program may do."""
    async with results:
        async for outcome in results:
            assert outcome.error is not None
            raise outcome.error


def frames_of_ours(error: BaseException) -> list[str]:
    """Return the variables of all frames of this package, and of what lies below them, as text."""
    shown: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        for frame in traceback.TracebackException.from_exception(seen, capture_locals=True).stack:
            if not frame.filename.startswith(TESTS):
                shown.append(f"{frame.filename}:{frame.lineno} {frame.locals}")
        seen = seen.__cause__ or seen.__context__
    return shown


@pytest.mark.parametrize("how", REFUSED)
async def test_what_a_refused_call_was_asked_is_in_no_frame_of_ours(how: str) -> None:
    async with raw_server(test_transport.hang) as server, client_of(server.url) as client:
        with pytest.raises((FullStoryError, TypeError)) as caught:
            await REFUSED[how](client)
    assert "canary" not in "".join(frames_of_ours(caught.value))
    assert server.requests == []


@pytest.mark.parametrize("how", FAILED)
@pytest.mark.parametrize("end", ["an answer", "silence", "cancelled"])
async def test_what_a_failed_call_was_asked_is_in_no_frame_of_ours(how: str, end: str) -> None:
    handler = (
        test_transport.answering(http(b"", "404 Not Found")) if end == "an answer" else test_transport.hang
    )
    quick: dict[str, Any] = {} if end == "cancelled" else {"read_timeout": 0.1, "summary_read_timeout": 0.1}
    async with raw_server(handler) as server, client_of(server.url, **quick) as client:
        call = asyncio.ensure_future(FAILED[how](client))
        while not server.requests:
            await asyncio.sleep(0.01)
        if end == "cancelled":
            call.cancel()
        with pytest.raises((FullStoryError, asyncio.CancelledError)) as caught:
            await call
    frames = frames_of_ours(caught.value)
    assert frames or how.endswith("_many")  # an outcome's error has passed no frame that is still on it
    assert "canary" not in "".join(frames)


@pytest.mark.parametrize("end", ["cancelled", "closed"])
async def test_what_a_jobs_calls_were_asked_is_in_no_frame_of_ours(end: str, tmp_path: Path) -> None:
    """A job that is cancelled, or whose client is closed under it, raises without the profile of its summaries."""
    refuse = test_transport.answering(http(b"", "404 Not Found"))

    async def handler(connection: Connection) -> None:
        await (refuse if "/me" in connection.head.decode().split("\r\n")[0] else test_transport.hang)(
            connection
        )

    async with raw_server(handler) as server, client_of(server.url) as client:
        async with Job.open(tmp_path / "job", client=client, plan=JobPlan(events=True, summary=ASKED)) as job:
            await job.add([f"1:{n}" for n in range(40)])
            run = asyncio.ensure_future(job.run())
            while len(server.requests) < 3:
                await asyncio.sleep(0.01)
            if end == "cancelled":
                run.cancel()
            else:
                await client.close()
            with pytest.raises((FullStoryError, asyncio.CancelledError)) as caught:
                await run
            frames = frames_of_ours(caught.value)
    assert frames
    assert "canary" not in "".join(frames)
