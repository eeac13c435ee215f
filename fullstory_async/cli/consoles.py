"""Consoles on the standard streams: their width, their colours, and whether something may move on them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rich.console import Console, ConsoleDimensions

__all__ = ["StreamConsole"]

_MIN_WIDTH = 40
"""Columns below which tables lose text, and some help texts can't be laid out at all."""
_MAX_WIDTH = 1000
"""Columns beyond which no terminal goes; rich pads lines to the width."""
_SIZES = ("COLUMNS", "LINES")


class StreamConsole(Console):
    """A console on standard output or standard error. A write that fails raises its `OSError`."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        """Create a console that reads only the variables that make sense."""
        super().__init__(stderr=stderr, width=width, _environ=_usable(os.environ))

    @property
    def size(self) -> ConsoleDimensions:
        """The size, within limits that every table and help text fits."""
        found = super().size
        return found._replace(width=min(max(found.width, _MIN_WIDTH), _MAX_WIDTH))

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self.width, self.height = new_size

    @property
    def is_live(self) -> bool:
        """Whether a display may move its cursor.

        FORCE_COLOR makes a pipe a terminal for rich, but the cursor of a file can't be moved.
        """
        return self.is_interactive and self.file.isatty()

    def on_broken_pipe(self) -> None:
        """Raise the error; rich would exit with its own code instead of 141."""
        raise BrokenPipeError


def _usable(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those that rich would stumble over, or that NO_COLOR overrules."""
    no_color = environment.get("NO_COLOR", "") != ""
    return {
        name: value
        for name, value in environment.items()
        # rich takes every Unicode digit for a number, and 0 for a width
        if not (name in _SIZES and not (value.isascii() and value.isdigit() and int(value)))
        and not (no_color and name == "FORCE_COLOR")
        # older versions of rich go by their presence
        and not (value == "" and name in ("FORCE_COLOR", "NO_COLOR"))
    }
