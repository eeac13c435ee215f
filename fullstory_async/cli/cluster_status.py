"""The status of a cluster: as a row for programs, and as a display that is kept up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import attrs
from rich.live import Live
from rich.table import Table

from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.cli.exits import Exit
from fullstory_async.cli.output import print_rows, printable
from fullstory_async.cli.signals import exit_of_server, first_signal

if TYPE_CHECKING:
    from fullstory_async.cluster import PostgresStore, StoreStatus

__all__ = ["status_row", "status_table", "watch"]

_INTERVAL = 2.0


def status_row(found: StoreStatus) -> dict[str, Any]:
    """Return a status as a row of JSON."""
    return attrs.asdict(found)


def status_table(row: Mapping[str, Any]) -> Table:
    """Return a row as a table of names and values."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in row.items():
        table.add_row(name, printable(value))
    return table


async def watch(store: PostgresStore, *, as_table: bool) -> Exit:
    """Print the status every 2 seconds until a signal arrives; a table on a terminal stays in its place."""
    console = StreamConsole()
    live = Live(console=console, auto_refresh=False) if as_table and console.is_live else None
    with first_signal() as stopped, live or nullcontext():
        while not stopped.done():
            row = status_row(await store.status())
            if live is not None:
                live.update(status_table(row), refresh=True)
            elif as_table:
                console.print(status_table(row))
            else:
                print_rows([row])
            await asyncio.wait([stopped], timeout=_INTERVAL)
    return exit_of_server(stopped.result())
