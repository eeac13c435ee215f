"""The commands ``profiles list|get|create|update|delete``."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import App, Parameter

from fullstory_async.cli.connection import Connection
from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.option_parsing import read_profile_file
from fullstory_async.cli.output import Output, print_json, print_rows, print_table
from fullstory_async.cli.streams import require_output
from fullstory_async.codec.request_bodies import dump_options
from fullstory_async.models import LLMOptions, Profile

__all__ = ["profiles"]

_File = Parameter(allow_leading_hyphen=True)

profiles = App(
    name="profiles",
    help="""List, show, create, change and delete summary profiles. Free.

A profile file is JSON or TOML, or - for standard input. It holds a name and the groups llm, slice, context,
events and cache, as `profiles get` prints them. """,
    help_format="markdown",
)


@profiles.command(name="list")
def list_(
    *,
    output: Output = "jsonl",
    connection: Connection = Connection(),  # noqa: B008  (frozen)
) -> Exit:
    """List the organisation's profiles.

    Parameters
    ----------
    output
        JSON Lines for programs, or a table for people.
    """
    found = connection.collect(lambda client: client.profiles.list())
    if output == "table":
        print_table(StreamConsole(), ("id", "name", "response", "pre_prompt"), map(_table_row, found))
    else:
        print_rows(map(_json_row, found))
    return Exit.OK


@profiles.command
def get(
    profile_id: str,
    /,
    *,
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Print a profile as JSON, in the form that create and update read.

    Example: fullstory-async profiles get support > support.json

    Parameters
    ----------
    profile_id
        Id of the profile.
    """
    print_json(_json_row(connection.call(lambda client: client.profiles.get(profile_id))))
    return Exit.OK


@profiles.command
def create(
    file: Annotated[str, _File],
    /,
    *,
    name: str | None = None,
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Create a profile from a file, and print it with its new id.

    Parameters
    ----------
    file
        A JSON or TOML file, or - for standard input. An id in it is ignored.
    name
        Name of the profile, instead of the name in the file.
    """
    given = read_profile_file(file)
    named = name or given.name
    if not named:
        raise UsageError(f"{file} has no name, and --name is not given")
    require_output()  # or a profile would be created without showing its id
    print_json(_json_row(connection.call(lambda client: client.profiles.create(named, given.configuration))))
    return Exit.OK


@profiles.command
def update(
    profile_id: str,
    file: Annotated[str, _File],
    /,
    *,
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Change the fields of a profile that a file names, and print the profile.

    Other fields keep their values.

    Parameters
    ----------
    profile_id
        Id of the profile.
    file
        A JSON or TOML file, or - for standard input.
    """
    given = read_profile_file(file)
    if given.id is not None and given.id != profile_id:
        raise UsageError(f"{file} belongs to the profile {given.id}, not {profile_id}")
    configuration = given.configuration if dump_options(given.configuration) else None
    if given.name is None and configuration is None:
        raise UsageError(f"{file} names nothing to change")
    changed = connection.call(
        lambda client: client.profiles.update(profile_id, name=given.name, configuration=configuration)
    )
    print_json(_json_row(changed))
    return Exit.OK


@profiles.command
def delete(
    profile_id: str,
    /,
    *,
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Delete a profile. This can't be undone; `profiles get` saves a copy first.

    Parameters
    ----------
    profile_id
        Id of the profile.
    """
    connection.call(lambda client: client.profiles.delete(profile_id))
    sys.stderr.write(f"deleted {profile_id}\n")
    return Exit.OK


def _json_row(profile: Profile) -> dict[str, Any]:
    return {"id": profile.id, "name": profile.name, **dump_options(profile.configuration)}


def _table_row(profile: Profile) -> dict[str, Any]:
    llm = profile.configuration.llm or LLMOptions()
    response = "text" if llm.response_schema is None else "structured"
    return {"id": profile.id, "name": profile.name, "response": response, "pre_prompt": llm.pre_prompt}
