"""The commands ``context``, ``summary``, ``whoami`` and ``id``."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import Annotated, Any, Literal

import attrs
from cyclopts import Parameter

from fullstory_async.cli.connection import Connection
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.latest import chosen_session
from fullstory_async.cli.links import SessionLink
from fullstory_async.cli.option_parsing import read_session_id, read_settings, read_time
from fullstory_async.cli.output import Output, as_row, print_rows, print_rows_as
from fullstory_async.cli.reuse import Reuse
from fullstory_async.cli.streams import require_output
from fullstory_async.client import FullStoryClient
from fullstory_async.errors import FullStoryError, NotFoundError
from fullstory_async.json_ready import time_text
from fullstory_async.models import (
    CacheOptions,
    ContextOptions,
    EventOptions,
    LLMOptions,
    MediaOptions,
    ProfileConfiguration,
    SessionContext,
    SessionSummary,
    SliceOptions,
)
from fullstory_async.tables.ids import SessionIds

__all__ = ["context", "id_", "summary", "whoami"]

_Flag = Parameter(negative="")
_Many = Parameter(negative="", consume_multiple=False)

_CONTEXT_GROUPS = {
    "slice": SliceOptions, "context": ContextOptions, "events": EventOptions, "cache": CacheOptions,
    "media": MediaOptions,
}  # fmt: skip
_SUMMARY_GROUPS = {
    "llm": LLMOptions, "slice": SliceOptions, "context": ContextOptions, "events": EventOptions,
    "cache": CacheOptions,
}  # fmt: skip


def context(
    session_id: str,
    /,
    *,
    markdown: Annotated[bool, _Flag] = False,
    max_characters: int | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set"), _Many] = None,
    reuse: Reuse = Reuse(),  # noqa: B008  (frozen)
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Describe a session compactly for your own LLM prompt. Costs one activation.

    Example: fullstory-async context ID --markdown --set slice.mode=LAST --set slice.event_limit=100

    Parameters
    ----------
    session_id
        A USER:SESSION pair, a client id, or a replay URL.
    markdown
        Print Markdown, for a prompt or a chat message, instead of JSON.
    max_characters
        Maximum length of the Markdown; text is cut from the middle. [default: 12000]
    set_
        Set an option, as group.field=value. Groups: slice, context, events, cache, media. Separate several
        values with commas; @FILE reads the value from a file. Can be repeated.
    """
    if max_characters is not None and not markdown:
        raise UsageError("--max-characters goes with --markdown")
    if max_characters is not None and max_characters < 1:
        raise UsageError("--max-characters must be 1 or more")
    groups: dict[str, Any] = read_settings(set_ or (), _CONTEXT_GROUPS)
    wanted = read_session_id(session_id)
    reuse.check(set=set_)
    require_output()
    found = reuse.context(wanted) or reuse.fetch(
        connection, lambda client: client.sessions.context(wanted, **groups)
    )
    if markdown:
        limits = {} if max_characters is None else {"max_characters": max_characters}
        sys.stdout.write(found.to_markdown(**limits))
    else:
        print_rows([_context_row(found)])
    return Exit.OK


def summary(
    session_id: str | None = None,
    /,
    *,
    email: str | None = None,
    latest: Annotated[bool, _Flag] = False,
    profile: str | None = None,
    end_timestamp: str | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set"), _Many] = None,
    output: Literal["jsonl", "table", "text"] = "jsonl",
    reuse: Reuse = Reuse(),  # noqa: B008  (frozen)
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Generate an AI summary of a session. Costs one activation.

    Example: fullstory-async summary ID --profile support --set llm.post_prompt="Answer in French."

    Example: fullstory-async summary --email ada@example.com --latest --output text

    Parameters
    ----------
    session_id
        A USER:SESSION pair, a client id, or a replay URL.
    email
        E-mail address of the user whose latest session is summarised, with --latest.
    latest
        Summarise the latest session of --email.
    profile
        Id of the summary profile. Without it, FullStory uses its default profile. The sandbox has support,
        sales and triage.
    end_timestamp
        Use only events before this time, such as 2026-05-04T10:00:00Z.
    set_
        Override an option of the profile, as group.field=value. Groups: llm, slice, context, events, cache.
        Lists are appended to the profile's lists, and empty values change nothing. @FILE reads the value from
        a file; llm.response_schema takes a JSON Schema. Can be repeated.
    output
        JSON Lines for programs; a table, or only the text, for people.
    """
    end = read_time(end_timestamp, "--end-timestamp")
    groups: dict[str, Any] = read_settings(set_ or (), _SUMMARY_GROUPS)
    overrides = ProfileConfiguration(**groups) if groups else None
    reuse.check(set=set_, end_timestamp=end_timestamp, email=email)
    wanted = chosen_session(session_id, email, connection, latest=latest)
    require_output()

    async def summarise(client: FullStoryClient) -> SessionSummary:
        try:
            return await client.sessions.summary(
                wanted, config_profile_id=profile, end_timestamp=end, overrides=overrides
            )
        except NotFoundError as error:
            await _note_unknown_profile(client, profile, error)
            raise

    found = reuse.summary(wanted, profile) or reuse.fetch(connection, summarise)
    if output == "text":
        sys.stdout.write(found.text + "\n")
    else:
        print_rows_as(output, [as_row(found)], ("full_session_id", "summary", "response"))
    return Exit.OK


async def _note_unknown_profile(client: FullStoryClient, profile: str | None, error: NotFoundError) -> None:
    """Add a note to an error if the profile is what does not exist."""
    # asked only after a failure: the request is free, but needless for a summary that succeeds
    if profile is None:
        return
    try:
        await client.profiles.get(profile)
    except NotFoundError:
        error.add_note(f"there is no profile {profile!r}; 'fullstory-async profiles list' lists them")
    except FullStoryError:
        pass  # the profile is neither confirmed nor refuted; the first error stands


def whoami(
    *,
    output: Output = "jsonl",
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Show the API key's organisation, e-mail address and role. Free.

    Use it to check a key.

    Parameters
    ----------
    output
        JSON Lines for programs, or a table for people.
    """
    found = connection.call(lambda client: client.whoami())
    print_rows_as(output, [as_row(found)], ("email", "org_id", "role"))
    return Exit.OK


def id_(text: str, /, *, org: str | None = None, output: Output = "jsonl") -> Exit:
    """Convert a session id of any form to the API's form. Sends no request.

    Also prints the region and the replay URL.

    Example: fullstory-async id 'https://app.fullstory.com/ui/ORG/session/1%3A2'

    Parameters
    ----------
    text
        A USER:SESSION pair, a client id, a replay URL, or an id copied from FullStory's app.
    org
        Organisation id, as in replay URLs, if the text has none. The whoami command prints it.
    output
        JSON Lines for programs, or a table for people.
    """
    # the key is not sent anywhere: its prefix names the region
    link = SessionLink.read(text, org=org, api_key=os.environ.get("FULLSTORY_API_KEY"))
    if not link.id.is_pair:
        sys.stderr.write("this is not a USER:SESSION pair, so FullStory may not know it\n")
    if link.url is None:
        sys.stderr.write("no replay URL: the text names no organisation; add --org (whoami prints it)\n")
    row = {**SessionIds.of(link.id).to_dict(), "region": link.region, "org": link.org, "replay_url": link.url}
    print_rows_as(output, [row], tuple(row))
    return Exit.OK


def _context_row(found: SessionContext) -> dict[str, Any]:
    """Return context as nested JSON-ready values, without the fields that are None."""

    def to_json(_: type, __: Any, value: Any) -> Any:
        return time_text(value) if isinstance(value, datetime) else value

    row = attrs.asdict(
        found, filter=lambda field, value: field.name != "raw" and value is not None, value_serializer=to_json
    )
    return {**SessionIds.of(row.pop("session_id")).to_dict(), **row}
