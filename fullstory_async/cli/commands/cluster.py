"""The commands ``cluster init|add|work|status|export|purge``: one budget and many workers, in Postgres."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import attrs
from cyclopts import App, Parameter

from fullstory_async.cli.cluster_options import Cluster
from fullstory_async.cli.cluster_status import status_row, watch
from fullstory_async.cli.cluster_work import work
from fullstory_async.cli.erasing import erase
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.ids import IdInput, read_ids
from fullstory_async.cli.messages import consent_question, estimate_text
from fullstory_async.cli.option_parsing import read_redactions
from fullstory_async.cli.output import Output, print_rows, print_rows_as
from fullstory_async.cli.terminal import ask
from fullstory_async.cli.without_pandas import without_pandas
from fullstory_async.config import ClientConfig
from fullstory_async.jobs import JobEstimate, JobPlan
from fullstory_async.jobs.plan import estimate_within_budget
from fullstory_async.session_id import SessionId
from fullstory_async.tables.columns import Schema

if TYPE_CHECKING:
    from fullstory_async.cluster import PostgresStore

__all__ = ["cluster"]

_Flag = Parameter(negative="")
_Many = Parameter(negative="", consume_multiple=False)
_ManyFiles = Parameter(allow_leading_hyphen=True, negative="", consume_multiple=False)
_CONFIRM_ABOVE = 100
"""Activations for which no consent is needed, as in ``fetch``."""
_SPENDING = {"max_activations": "--max-activations", "monthly_cap": "--monthly-cap"}

cluster = App(
    name="cluster",
    help="Fetch events with many workers, on one budget, one rate limit and one set of results in Postgres.",
    help_format="markdown",
)
cluster.command(work)


@cluster.command
def init(
    *,
    max_activations: int | None = None,
    monthly_cap: int | None = None,
    quiet: Annotated[bool, _Flag] = False,
    options: Cluster = Cluster(),  # noqa: B008  (frozen)
) -> Exit:
    """Create the tables and the budget, or upgrade the tables and change the budget.

    Free, and may be repeated. The role needs the right to create the schema; workers don't.

    Example: fullstory-async cluster init --max-activations 50000

    Parameters
    ----------
    max_activations
        Maximum number of activations that the budget spends, by all workers together. Without it, an existing
        budget keeps its limit, and a new one has none.
    monthly_cap
        Maximum number of activations that the key spends in a month, by all budgets together.
    quiet
        Print nothing.
    """
    for name, value in {"max_activations": max_activations, "monthly_cap": monthly_cap}.items():
        if value is not None and value < 1:
            raise UsageError(f"{_SPENDING[name]} must be 1 or more")

    async def create() -> str:
        async with (
            options.store(max_activations=max_activations, monthly_cap=monthly_cap) as store,
            options.queue(),
        ):
            found = await store.status()
        limit = "no limit" if found.max_activations is None else f"a limit of {found.max_activations}"
        return f"budget {options.budget}: {limit}, {found.spent} spent, {found.sessions} sessions\n"

    text = asyncio.run(create())
    if not quiet:
        sys.stderr.write(text)
    return Exit.OK


@cluster.command
def add(
    *,
    ids: Annotated[list[str], _ManyFiles],
    yes: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    id_column: str | None = None,
    strict: Annotated[bool, _Flag] = False,
    trust_ids: Annotated[bool, _Flag] = False,
    quiet: Annotated[bool, _Flag] = False,
    options: Cluster = Cluster(),  # noqa: B008
) -> Exit:
    """Add sessions, whose events the workers then fetch. One activation per new session.

    Sessions that are known already cost nothing. The other columns of a table are kept and exported, as with
    fetch. Prints what was added as JSON, and exits with 3 if rows were left out because they are not ids.

    Parameters
    ----------
    ids
        File of session ids, or - for standard input, in any form that fetch takes. Can be repeated.
    yes
        Ask nothing. Without it, add asks before workers may spend more than 100 activations, and if ids are
        not USER:SESSION pairs. Where there is no terminal, --yes, FULLSTORY_YES=1 or a budget with a limit is
        your consent. [default: true if FULLSTORY_YES is 1]
    id_column
        Column that holds the ids, if it is not found; a.b.c for a nested field of JSON.
    strict
        Refuse the file if one of its rows is not a session id.
    trust_ids
        Accept ids that look as if another program had rounded them or cut them off.
    quiet
        Print only questions, warnings and errors.
    """
    given = read_ids(ids, id_column, strict=strict, trust_ids=trust_ids)
    asks = not yes and os.environ.get("FULLSTORY_YES") != "1"

    async def run() -> Exit:
        async with options.store() as store, options.queue() as queue:
            estimate = await _estimate(store, given)
            if not quiet:
                sys.stderr.write("".join(f"note: {note}\n" for note in given.notes()))
                sys.stderr.write(estimate_text(given, estimate, adaptive=False, invalid_ids="left out"))
            if asks and not _has_consent(given, estimate):
                sys.stderr.write("nothing was added\n")
                return Exit.INTERRUPTED
            added = await store.add(given.inputs())
            await queue.fill(await store.count_left(queue.most))
            print_rows([attrs.asdict(added)])
        return Exit.SOME_FAILED if added.refused else Exit.OK

    with closing(given):
        return asyncio.run(run())


async def _estimate(store: PostgresStore, given: IdInput) -> JobEstimate:
    """Return what the sessions may cost at most: those that are known cost nothing."""
    config, found = ClientConfig(), await store.status()
    plan = JobPlan(events=True, max_activations=found.max_activations)
    calls, rate = len(given) - given.invalid, config.rate_limit.rate
    charges = config.retry.max_charges_per_call
    return estimate_within_budget(plan, len(given), calls, found.spent, rate, charges)


def _has_consent(given: IdInput, estimate: JobEstimate) -> bool:
    """Return whether the activations may be spent; ask if it is many, or if ids look wrong."""
    if estimate.activations <= _CONFIRM_ABOVE and not given.not_pairs:
        return True
    reply = ask(consent_question(given, estimate))
    if reply is None and estimate.max_activations is None:
        raise UsageError(
            "there is no terminal to ask on: give --yes or FULLSTORY_YES=1 as consent, or limit the budget "
            "with 'cluster init --max-activations'"
        )
    return reply is not False


@cluster.command
def status(
    *,
    output: Output = "jsonl",
    as_json: Annotated[bool, Parameter(name="--json"), _Flag] = False,
    watching: Annotated[bool, Parameter(name="--watch"), _Flag] = False,
    options: Cluster = Cluster(),  # noqa: B008
) -> Exit:
    """Print how many sessions are fetched and left, and what is spent. Free; needs no key.

    pending sessions wait for a worker, claimed ones have one, and of sent ones the request was sent. spent
    counts all activations of the budget; at_risk counts those of them that were possibly not charged.

    Parameters
    ----------
    output
        JSON Lines for programs, or a table for people.
    as_json
        Print JSON, the same as --output jsonl.
    watching
        Print again every 2 seconds, until Ctrl-C.
    """
    is_table = output == "table" and not as_json

    async def run() -> Exit:
        async with options.store() as store:
            if watching:
                return await watch(store, as_table=is_table)
            row = status_row(await store.status())
            if is_table:
                print_rows_as("table", [{"name": n, "value": v} for n, v in row.items()], ("name", "value"))
            else:
                print_rows([row])
        return Exit.OK

    return asyncio.run(run())


@cluster.command
def export(
    out: Path | None = None,
    /,
    *,
    out_dir: Path | None = None,
    file_format: Annotated[str | None, Parameter(name="--format")] = None,
    overwrite: Annotated[bool, _Flag] = False,
    append: Annotated[bool, _Flag] = False,
    schema: Schema = "v2",
    json: Literal["text", "struct"] = "text",
    redact: Annotated[list[str] | None, _Many] = None,
    allow_missing: Annotated[bool, _Flag] = False,
    quiet: Annotated[bool, _Flag] = False,
    options: Cluster = Cluster(),  # noqa: B008
) -> Exit:
    """Export the results and failures to files, in the forms of 'job export'. Free; needs no key.

    Example: fullstory-async cluster export friday.parquet

    Parameters
    ----------
    out
        File to write. Its suffix decides the format: .jsonl, .csv, .parquet, .duckdb, .sqlite.
    out_dir
        Folder to write, with a folder of files for each table.
    file_format
        Format of the files in a folder (parquet if not given).
    overwrite
        Replace OUT even if it is a database that no export made, read-only, or another user's file.
    append
        Add to the tables of an earlier export in a .duckdb or .sqlite file.
    schema
        Columns: v2, v1 as in earlier versions, or warehouse as FullStory's dbt package reads them.
    json
        With struct, events in Parquet and DuckDB have structures in place of JSON text.
    redact
        Fields to drop at any depth, or to replace by a fingerprint, as in user_email=hash. Can be repeated.
    allow_missing
        Export even if no field has a name given to --redact.
    quiet
        Print only warnings and errors.
    """
    if out is None and out_dir is None:
        raise UsageError("OUT is missing: name a file, or a folder with --out-dir")
    wanted: dict[str, Any] = {
        "out_dir": out_dir, "file_format": file_format, "overwrite": overwrite, "append": append,
        "schema": schema, "json": json, "redact": read_redactions(redact or []),
        "allow_missing": allow_missing,
    }  # fmt: skip

    async def run() -> list[Path]:
        async with options.store() as store:
            return await store.export(out, **wanted)

    with without_pandas():
        written = asyncio.run(run())
    if not quiet:
        sys.stderr.write("".join(f"{path}\n" for path in written))
    return Exit.OK


@cluster.command
def purge(
    *,
    session: Annotated[list[str], _Many],
    quiet: Annotated[bool, _Flag] = False,
    options: Cluster = Cluster(),  # noqa: B008
) -> Exit:
    """Erase a session's results and id, which no worker then fetches again. Free; needs no key.

    Exits with 5 if the store did not have one of the sessions; the others are erased all the same.

    Parameters
    ----------
    session
        Id of a session, in any form. Can be repeated.
    quiet
        Print only warnings and errors.
    """
    # all of them first, so that a mistyped one erases nothing
    session_ids = [SessionId.parse(each) for each in session]

    async def run() -> Exit:
        async with options.store() as store:
            return await erase(session_ids, store.purge, "the store", quiet=quiet)

    return asyncio.run(run())
