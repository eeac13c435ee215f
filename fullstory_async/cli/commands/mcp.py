"""The command ``mcp``: sessions for AI agents, within a budget."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import attrs
from cyclopts import Parameter, Token

from fullstory_async.agents.spending import Terms
from fullstory_async.cli.connection import Connection
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.option_parsing import open_ledger, read_redactions
from fullstory_async.cli.signals import exit_of_server, first_signal
from fullstory_async.client import FullStoryClient
from fullstory_async.environment import read_key_file, variable
from fullstory_async.errors import ConfigurationError
from fullstory_async.files.ledger import ActivationLedger
from fullstory_async.files.response_cache import ResponseCache
from fullstory_async.jobs import JobReader
from fullstory_async.jobs.export import Redaction

__all__ = ["mcp"]

_Many = Parameter(negative="", consume_multiple=False)
_MIN_TOKEN = 16
"""Characters of a bearer token."""
_MAX_BYTES = 4 * 1024**3
"""Bytes of compressed responses that the store keeps."""
_MAX_PORT = 65_535
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""Hosts that only programs on this machine can reach."""


def _read_ask_from(_: object, tokens: list[Token]) -> int | Literal["never"]:
    """Read the value of ``--ask-from``."""
    text = tokens[0].value
    if text == "never":
        return "never"
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'"{text}" is neither a number of activations nor "never"')
    return int(text)


@attrs.frozen(kw_only=True)
class _Plan:
    """What the command serves."""

    terms: Terms
    store: Path | None
    jobs: Sequence[JobReader]
    redaction: Redaction
    ledger: ActivationLedger | None
    http: tuple[str, int, str] | None
    """Host, port and token; ``None`` for standard input and output."""


def mcp(
    *,
    store: Path | None = None,
    job: Annotated[list[Path] | None, _Many] = None,
    budget: int = 10,
    ask_from: Annotated[int | Literal["never"], Parameter(converter=_read_ask_from)] = 0,
    ledger: Path | None = None,
    monthly_cap: int | None = None,
    redact: Annotated[list[str] | None, _Many] = None,
    transport: Literal["stdio", "http"] = "stdio",
    host: str | None = None,
    port: int | None = None,
    token_file: Path | None = None,
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Serve sessions to AI agents over MCP, within a budget of activations.

    Agents find sessions and read opened ones for free; opening one costs an activation, once. Needs
    fullstory-async[mcp].

    Example: fullstory-async mcp --store ~/sessions.db --budget 20 --ask-from never

    Parameters
    ----------
    store
        File that keeps the responses, readable only by you, so that no session is paid for twice; the same as
        --cache of other commands. [default: a temporary file, deleted at the end]
    job
        Job folder whose sessions agents can read for free. Can be repeated.
    budget
        Maximum number of activations that this run spends.
    ask_from
        Ask a person before each activation, once this many are spent: 0 asks for each, "never" for none. A
        program that can't ask a person then gets no more.
    ledger
        File that counts the activations of the key per month.
    monthly_cap
        Maximum number of activations that the key spends in a month, counted by the ledger.
    redact
        Fields to drop at any depth, such as user_email,ip_address, or to replace by a fingerprint, as in
        user_email=hash. URLs and free text, such as summaries, are not searched. Can be repeated.
    transport
        Standard input and output, for a program that starts the server; or HTTP, at /mcp.
    host
        Address to listen on, for HTTP. Any other than 127.0.0.1 can be reached by other machines. [default:
        127.0.0.1]
    port
        Port to listen on, for HTTP; 0 takes a free port. [default: 8766]
    token_file
        File with the bearer token that HTTP requests must carry, 16 characters at least. [default: the
        variable FULLSTORY_MCP_TOKEN]
    """
    if budget < 0:
        raise UsageError("--budget must be 0 or more")
    if port is not None and not 0 <= port <= _MAX_PORT:
        raise UsageError(f"--port must be from 0 to {_MAX_PORT}")
    if transport == "http":
        http = host or "127.0.0.1", 8766 if port is None else port, _read_token(token_file)
    else:
        http = None
        for name, value in {"--host": host, "--port": port, "--token-file": token_file}.items():
            if value is not None:
                raise UsageError(f"{name} needs --transport http")
    terms = Terms(budget=budget, ask_from=None if ask_from == "never" else ask_from)
    redaction = Redaction.of(read_redactions(redact or []), secrets.token_hex())
    if redaction.missing:
        names = ", ".join(redaction.missing)
        sys.stderr.write(f"warning: --redact: no documented field is named {names}\n")
    plan = _Plan(
        terms=terms, store=store, jobs=[*map(JobReader, job or [])], redaction=redaction,
        ledger=open_ledger(ledger, monthly_cap),
        http=http,
    )  # fmt: skip
    return connection.call(lambda client: _serve(client, plan), ledger=plan.ledger)


def _read_token(file: Path | None) -> str:
    """Return the bearer token. Raises `UsageError` if there is none, or if it can be guessed."""
    if file is None:
        token = variable("FULLSTORY_MCP_TOKEN")
    else:
        token = read_key_file(file, "--token-file", "bearer token")
    if not token:
        raise UsageError(
            "--transport http needs a bearer token: set FULLSTORY_MCP_TOKEN, or give --token-file"
        )
    if len(token) < _MIN_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(
            f"the bearer token must have {_MIN_TOKEN} printable characters or more, without spaces"
        )
    return token


async def _serve(client: FullStoryClient, plan: _Plan) -> Exit:
    """Serve until the program at the other end leaves, or a signal arrives."""
    try:
        from fullstory_async.agents.server import Office, make_server  # noqa: PLC0415  (the SDK is large)
        from fullstory_async.agents.serving import listen, serve_http, serve_stdio  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise ConfigurationError(
            f"{missing.name} is not installed: pip install 'fullstory-async[mcp]'"
        ) from None
    from fullstory_async.agents.desk import AgentDesk  # noqa: PLC0415
    from fullstory_async.agents.reading import Reader  # noqa: PLC0415
    from fullstory_async.agents.store import FOREVER, AgentStore  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="fullstory-") as folder, first_signal() as stopped:
        path = Path(folder, "responses.db") if plan.store is None else plan.store
        cache = ResponseCache(path, ttl=FOREVER, events_ttl=FOREVER, max_bytes=_MAX_BYTES)
        desk = AgentDesk(client, AgentStore(cache, client.api.name, plan.jobs), plan.terms, plan.ledger)
        await desk.store.check()  # a file that can't be used is reported now, not to an agent
        server = make_server(Office(desk, Reader(plan.redaction)))
        if plan.http is None:
            has_ended = await serve_stdio(server, stopped)
        else:
            host, port, token = plan.http
            try:
                listener = listen(host, port)
            except OSError as error:
                raise UsageError(
                    f"can't listen on {host}:{port}: {error.strerror}; choose another --port or --host"
                ) from None
            with listener:
                _print_address(host, listener.getsockname()[1])
                await serve_http(server, listener, host, token, stopped)
            has_ended = True
        await desk.finish()
    if not has_ended:
        await client.close()
        # the SDK's thread waits for standard input, and the interpreter would wait for the thread
        os._exit(exit_of_server(stopped.result()))
    return exit_of_server(stopped.result()) if stopped.done() else Exit.OK


def _print_address(host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    note = (
        ""
        if host in _LOOPBACK
        else "; other machines can reach it, without encryption unless a proxy adds TLS"
    )
    sys.stderr.write(f"serving http://{shown}:{port}/mcp{note}; press Ctrl-C to stop\n")
