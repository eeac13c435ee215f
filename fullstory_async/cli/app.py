"""The command line: its commands, and how an error ends them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import sys
from collections.abc import Sequence

import cyclopts
from cyclopts import App

from fullstory_async._version import __version__
from fullstory_async.cli import commands
from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.cli.exits import Exit, UsageError, exit_for, next_step, usage_text
from fullstory_async.cli.output import warnings_as_messages
from fullstory_async.cli.root import EPILOGUE, HELP, chosen
from fullstory_async.errors import DecodeError, FullStoryError

__all__ = ["application", "output_lost", "run"]

_WRITING = frozenset({errno.EBADF, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EAGAIN})
"""Errors of a descriptor that can't be written to."""


def application(arguments: Sequence[str]) -> App:
    """Return the application with the command that is named, or with all of them."""
    app = App(
        name="fullstory-async",
        help=HELP,
        help_epilogue=EPILOGUE,
        help_format="markdown",
        version=__version__,
        print_error=False,  # `run` prints it
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for each in chosen(arguments):
        module = importlib.import_module(f"{commands.__name__}.{each.module}")
        app.command(getattr(module, each.attribute), name=each.name)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command, print its error in one line, and return its exit code."""
    try:
        with warnings_as_messages():
            result = application(arguments)(list(arguments), console=StreamConsole(), exit_on_error=False)
    except cyclopts.CycloptsError as error:
        sys.stderr.write(usage_text(error))
        return Exit.USAGE
    except (KeyboardInterrupt, asyncio.CancelledError):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return Exit.PIPE_CLOSED
    except DecodeError as error:
        sys.stderr.write(
            f"fullstory-async: {error}\nThe response as it was received follows on standard output.\n"
        )
        with contextlib.suppress(OSError):  # the command fails anyway, and with the code of the first error
            sys.stdout.buffer.write(b"" if error.response is None else error.response.body)
        return exit_for(error)
    except (UsageError, FullStoryError, OSError) as error:
        # errors of files name their file
        is_output = isinstance(error, OSError) and error.filename is None and error.errno in _WRITING
        text = "; ".join([str(error), *getattr(error, "__notes__", ())])
        place = "standard output: " if is_output else ""
        sys.stderr.write(f"fullstory-async: {place}{text}{next_step(error)}\n")
        return exit_for(error)
    return int(result) if isinstance(result, int) else Exit.OK


def output_lost(error: OSError) -> int:
    """Report output that was printed but could not be written, and return the exit code for it."""
    if not isinstance(error, BrokenPipeError):
        sys.stderr.write(f"fullstory-async: standard output: {error}\n")
    return exit_for(error)
