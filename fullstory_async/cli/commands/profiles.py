"""The commands ``profiles list|get|create|update|delete``."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import App, Parameter

from fullstory_async.cli.commands.sessions import Output
from fullstory_async.cli.connection import Connection
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.option_parsing import read_profile_file
from fullstory_async.cli.output import human_console, print_json, print_rows, print_table
from fullstory_async.cli.running import run_async
from fullstory_async.codec.request_bodies import dump_options
from fullstory_async.models import LLMOptions, Profile

__all__ = ["profiles"]

_File = Parameter(allow_leading_hyphen=True)

profiles = App(
    name="profiles",
    help="""List, read, make, change and delete summary profiles.

A file is JSON or TOML, or - for standard input: name, and the groups llm, slice, context, events and cache, as
`profiles get` prints them.
""",
    help_format="markdown",
)


@profiles.command(name="list")
def list_(
    *,
    output: Output = "jsonl",
    connection: Connection = Connection(),  # noqa: B008  (frozen)
) -> Exit:
    """List the account's profiles.

    Parameters
    ----------
    output
        JSON Lines for programs, or a table for people.
    """

    async def command() -> list[Profile]:
        async with connection.open() as client:
            return [profile async for profile in client.profiles.list()]

    found = run_async(command(), verbose=connection.verbose)
    if output == "table":
        print_table(human_console(), ("id", "name", "answer", "pre_prompt"), map(_for_people, found))
    else:
        print_rows(map(_row, found))
    return Exit.OK


@profiles.command
def get(
    profile_id: str,
    /,
    *,
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Print a profile as JSON, in the form that create and update read.

    Parameters
    ----------
    profile_id
        The profile's id.
    """

    async def command() -> Profile:
        async with connection.open() as client:
            return await client.profiles.get(profile_id)

    print_json(_row(run_async(command(), verbose=connection.verbose)))
    return Exit.OK


@profiles.command
def create(
    file: Annotated[str, _File],
    /,
    *,
    name: str | None = None,
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Make a profile of a file, and print it with the id that FullStory gave it.

    Parameters
    ----------
    file
        A JSON or TOML file, or - for standard input. An id in it is not used.
    name
        The profile's name, instead of the file's.
    """
    given = read_profile_file(file)
    named = name or given.name
    if not named:
        raise UsageError(f"{file} has no name, and --name is not given")

    async def command() -> Profile:
        async with connection.open() as client:
            return await client.profiles.create(named, given.configuration)

    print_json(_row(run_async(command(), verbose=connection.verbose)))
    return Exit.OK


@profiles.command
def update(
    profile_id: str,
    file: Annotated[str, _File],
    /,
    *,
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Change what a file names of a profile, and print the profile as it is then. The rest stays as it was.

    Parameters
    ----------
    profile_id
        The profile's id.
    file
        A JSON or TOML file, or - for standard input.
    """
    given = read_profile_file(file)
    if given.id is not None and given.id != profile_id:
        raise UsageError(f"{file} is of the profile {given.id}, not {profile_id}")
    configuration = given.configuration if dump_options(given.configuration) else None
    if given.name is None and configuration is None:
        raise UsageError(f"{file} names nothing to change")

    async def command() -> Profile:
        async with connection.open() as client:
            return await client.profiles.update(profile_id, name=given.name, configuration=configuration)

    print_json(_row(run_async(command(), verbose=connection.verbose)))
    return Exit.OK


@profiles.command
def delete(
    profile_id: str,
    /,
    *,
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Delete a profile. There is no way back; `profiles get` beforehand keeps a copy.

    Parameters
    ----------
    profile_id
        The profile's id.
    """

    async def command() -> None:
        async with connection.open() as client:
            await client.profiles.delete(profile_id)

    run_async(command(), verbose=connection.verbose)
    sys.stderr.write(f"deleted {profile_id}\n")
    return Exit.OK


def _row(profile: Profile) -> dict[str, Any]:
    return {"id": profile.id, "name": profile.name, **dump_options(profile.configuration)}


def _for_people(profile: Profile) -> dict[str, Any]:
    llm = profile.configuration.llm or LLMOptions()
    answer = "text" if llm.response_schema is None else "structured"
    return {"id": profile.id, "name": profile.name, "answer": answer, "pre_prompt": llm.pre_prompt}
