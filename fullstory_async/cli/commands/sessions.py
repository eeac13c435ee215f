"""The commands ``sessions``, ``context``, ``summary``, ``id`` and ``whoami``."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
from cyclopts import Parameter

from fullstory_async.cli.connection import Connection
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.links import SessionLink
from fullstory_async.cli.option_parsing import read_settings, read_time
from fullstory_async.cli.output import (
    as_row,
    human_console,
    print_rows,
    print_table,
)
from fullstory_async.cli.running import run_async
from fullstory_async.client import FullStoryClient
from fullstory_async.errors import FullStoryError, NotFoundError
from fullstory_async.files.summary_cache import SummaryCache
from fullstory_async.models import (
    CacheOptions,
    ContextOptions,
    EventOptions,
    LLMOptions,
    MediaOptions,
    ProfileConfiguration,
    Session,
    SessionContext,
    SessionSummary,
    SliceOptions,
)

__all__ = ["context", "id_", "sessions", "summary", "whoami"]

Output = Literal["jsonl", "table"]
_Flag = Parameter(negative="")
_Many = Parameter(negative="", consume_multiple=False)

_CONTEXT_GROUPS = {
    "slice": SliceOptions, "context": ContextOptions, "events": EventOptions, "cache": CacheOptions, "media": MediaOptions,
}  # fmt: skip
_SUMMARY_GROUPS = {
    "llm": LLMOptions, "slice": SliceOptions, "context": ContextOptions, "events": EventOptions, "cache": CacheOptions,
}  # fmt: skip


def sessions(
    *,
    email: str | None = None,
    uid: str | None = None,
    session_uid: str | None = None,
    limit: int | None = None,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    output: Output = "jsonl",
    connection: Connection = Connection(),  # noqa: B008  (frozen)
) -> Exit:
    """List a user's sessions with their replay URLs. Free of charge.

    Other commands take what is called id here, a USER:SESSION pair; user_id and session_id are its halves. fetch
    finds it by itself: fullstory-async sessions --uid u-1 --all | fullstory-async fetch --ids - --events --job u-1.job

    Example: fullstory-async sessions --email ada@example.com --sandbox --output table

    Parameters
    ----------
    email
        The user's e-mail address. With --uid too, the sessions of both.
    uid
        Your own id of the user.
    session_uid
        Your own id of one session; goes with neither of the others.
    limit
        How many sessions at most. [default: 20]
    all_
        Every session there is.
    output
        JSON Lines for programs, or a table for people.
    """
    if all_ and limit is not None:
        raise UsageError("--all and --limit exclude each other")
    if not (email or uid or session_uid):
        raise UsageError("give --email or --uid, or --session-uid")
    if limit is not None and limit < 1:
        raise UsageError("--limit must be 1 or more")
    wanted = None if all_ else 20 if limit is None else limit

    async def command() -> list[Session]:
        async with connection.open() as client:
            listed = client.sessions.list(email=email, uid=uid, session_uid=session_uid, limit=wanted)
            return [session async for session in listed]

    found = run_async(command(), verbose=connection.verbose)
    if not found:
        sys.stderr.write("no sessions\n")
    _print((as_row(session) for session in found), ("id", "created", "url"), output)
    return Exit.OK


def context(
    session_id: str,
    /,
    *,
    markdown: Annotated[bool, _Flag] = False,
    max_characters: int | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set"), _Many] = None,
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Generate what a language model should know of a session. Costs one activation.

    Example: fullstory-async context ID --markdown --set slice.mode=LAST --set slice.event_limit=100

    Parameters
    ----------
    session_id
        A USER:SESSION pair, a client id, or a replay URL.
    markdown
        As Markdown, for a prompt or a chat message, instead of JSON.
    max_characters
        The most characters of Markdown; beginning and end are kept. [default: 12000]
    set_
        An option as group.field=value; groups are slice, context, events, cache and media. Several values are
        separated by commas; @FILE stands for what is in a file. May be given several times.
    """
    if max_characters is not None and not markdown:
        raise UsageError("--max-characters goes with --markdown")
    if max_characters is not None and max_characters < 1:
        raise UsageError("--max-characters must be 1 or more")
    groups: dict[str, Any] = read_settings(set_ or (), _CONTEXT_GROUPS)

    async def command() -> SessionContext:
        async with connection.open() as client:
            return await client.sessions.context(session_id, **groups)

    found = run_async(command(), verbose=connection.verbose)
    if markdown:
        text = (
            found.to_markdown()
            if max_characters is None
            else found.to_markdown(max_characters=max_characters)
        )
        human_console().file.write(text)
    else:
        print_rows([_deep_row(found)])
    return Exit.OK


def summary(
    session_id: str,
    /,
    *,
    profile: str | None = None,
    end_timestamp: str | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set"), _Many] = None,
    cache: Path | None = None,
    output: Literal["jsonl", "table", "text"] = "jsonl",
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Generate an AI summary of a session. Costs one activation.

    Example: fullstory-async summary ID --profile support --set llm.post_prompt="Answer in French."

    Parameters
    ----------
    session_id
        A USER:SESSION pair, a client id, or a replay URL.
    profile
        The summary profile's id; FullStory has a default one. The sandbox knows support, sales and triage.
    end_timestamp
        Use only events before this time, such as 2026-05-04T10:00:00Z.
    set_
        What differs from the profile, as group.field=value; groups are llm, slice, context, events and cache. Lists
        are appended to the profile's, and empty values change nothing. @FILE stands for what is in a file;
        llm.response_schema takes a JSON Schema. May be given several times.
    cache
        A file that keeps summaries for a day: the same one again costs nothing.
    output
        JSON Lines for programs, a table or the bare text for people.
    """
    end = read_time(end_timestamp, "--end-timestamp")
    groups: dict[str, Any] = read_settings(set_ or (), _SUMMARY_GROUPS)
    overrides = ProfileConfiguration(**groups) if groups else None
    kept = None if cache is None else SummaryCache(cache)

    async def command() -> SessionSummary:
        async with connection.open(summary_cache=kept) as client:
            try:
                found = await client.sessions.summary(
                    session_id, config_profile_id=profile, end_timestamp=end, overrides=overrides
                )
            except NotFoundError as error:
                await _tell_of_profile(client, profile, error)
                raise
            if client.stats.requests == 0:
                sys.stderr.write(f"from {cache}: nothing was spent\n")
            return found

    found = run_async(command(), verbose=connection.verbose)
    if output == "text":
        human_console().file.write(found.text + "\n")
    else:
        _print([as_row(found)], ("session_id", "summary", "response"), output)
    return Exit.OK


async def _tell_of_profile(client: FullStoryClient, profile: str | None, error: NotFoundError) -> None:
    """Note in an error whether it is the profile that is unknown: asking is free, and needless where all goes well."""
    if profile is None:
        return
    try:
        await client.profiles.get(profile)
    except NotFoundError:
        error.add_note(
            f"'fullstory-async profiles list' names the profiles that there are; {profile!r} is none"
        )
    except FullStoryError:
        pass  # then nobody knows, and the first error is what there is to say


def whoami(
    *,
    output: Output = "jsonl",
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Tell whose API key it is: organisation, e-mail address and role. Free of charge; a way to check a key.

    Parameters
    ----------
    output
        JSON Lines for programs, or a table for people.
    """

    async def command() -> dict[str, Any]:
        async with connection.open() as client:
            return as_row(await client.whoami())

    _print([run_async(command(), verbose=connection.verbose)], ("email", "org_id", "role"), output)
    return Exit.OK


def id_(text: str, /, *, org: str | None = None, output: Output = "jsonl") -> Exit:
    """Read a session id in any form: prints the id that the API takes, its region and its replay URL. Sends nothing.

    Example: fullstory-async id 'https://app.fullstory.com/ui/ORG/session/1%3A2'

    Parameters
    ----------
    text
        A pair, a client id, a replay URL, or whatever FullStory's app shows.
    org
        The account, as it stands in replay URLs, for a text without one; whoami tells it.
    output
        JSON Lines for programs, or a table for people.
    """
    link = SessionLink.read(text, org=org, api_key=os.environ.get("FULLSTORY_API_KEY"))
    if not link.id.is_pair:
        sys.stderr.write("this is no USER:SESSION pair, so FullStory may not know it\n")
    if link.url is None:
        sys.stderr.write("no replay URL: the text names no account; give --org (whoami tells it)\n")
    row = {"session_id": str(link.id), "region": link.region, "org": link.org, "replay_url": link.url}
    _print([row], tuple(row), output)
    return Exit.OK


def _deep_row(found: SessionContext) -> dict[str, Any]:
    """Return context as JSON-ready values, without what is not there."""

    def ready(_: type, __: Any, value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime) else value

    return attrs.asdict(
        found, filter=lambda field, value: field.name != "raw" and value is not None, value_serializer=ready
    )


def _print(rows: Any, columns: tuple[str, ...], output: str) -> None:
    if output == "table":
        print_table(human_console(), columns, rows)
    else:
        print_rows(rows)
