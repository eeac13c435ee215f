"""The command line: its commands, and how an error ends them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sys
from collections.abc import Sequence

import cyclopts
from cyclopts import App

from fullstory_async._version import __version__
from fullstory_async.cli.commands import sessions
from fullstory_async.cli.commands.demo import demo
from fullstory_async.cli.commands.events import events
from fullstory_async.cli.commands.fetch import fetch
from fullstory_async.cli.commands.jobs import job
from fullstory_async.cli.commands.profiles import profiles
from fullstory_async.cli.commands.sandbox import sandbox
from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.cli.exits import Exit, UsageError, exit_for, usage_text
from fullstory_async.cli.output import warnings_as_messages
from fullstory_async.errors import DecodeError, FullStoryError

__all__ = ["output_lost", "run"]

_HELP = """List FullStory sessions, fetch their events, generate context and AI summaries, and manage summary
profiles.

Data goes to standard output, messages and progress to standard error. To try it without a key, run
`fullstory-async demo`, or any command with `--sandbox`.

Each events, context and summary call costs one activation (common plans include 1 000 a month); everything
else is free. FullStory offers this API for real-time activation, not for data export.
"""
_EPILOGUE = """Exit codes: 0 ok, 1 unexpected, 2 usage, 3 some ids failed, 4 authentication, 5 not found,
6 rate limit or deadline, 7 activation budget, 8 service or network down, 9 not FullStory,
10 no session found, 75 another process runs the job, 129 terminal closed, 130 interrupted,
141 output closed, 143 terminated
"""

_WRITING = frozenset({errno.EBADF, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EAGAIN})
"""Errors of a descriptor that can't be written to."""

app = App(
    name="fullstory-async",
    help=_HELP,
    help_epilogue=_EPILOGUE,
    help_format="markdown",
    version=__version__,
    print_error=False,  # `run` prints it
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
for command in (sessions.sessions, events, sessions.context, sessions.summary, fetch, sandbox, demo):
    app.command(command)
app.command(sessions.whoami)
app.command(sessions.id_, name="id")
app.command(profiles)
app.command(job)


def run(arguments: Sequence[str]) -> int:
    """Run one command, print its error in one line, and return its exit code."""
    try:
        with warnings_as_messages():
            result = app(list(arguments), console=StreamConsole(), exit_on_error=False)
    except cyclopts.CycloptsError as error:
        sys.stderr.write(usage_text(error))
        return Exit.USAGE
    except (KeyboardInterrupt, asyncio.CancelledError):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return Exit.PIPE_CLOSED
    except DecodeError as error:
        sys.stderr.write(f"fullstory-async: {error}\nThe answer as it came follows on standard output.\n")
        with contextlib.suppress(OSError):  # the command fails anyway, and with the code of the first error
            sys.stdout.buffer.write(b"" if error.response is None else error.response.body)
        return exit_for(error)
    except (UsageError, FullStoryError, OSError) as error:
        # errors of files name their file
        is_output = isinstance(error, OSError) and error.filename is None and error.errno in _WRITING
        text = "; ".join([str(error), *getattr(error, "__notes__", ())])
        sys.stderr.write(f"fullstory-async: {'standard output: ' if is_output else ''}{text}\n")
        return exit_for(error)
    return int(result) if isinstance(result, int) else Exit.OK


def output_lost(error: OSError) -> int:
    """Report output that was printed but could not be written, and return the exit code for it."""
    if not isinstance(error, BrokenPipeError):
        sys.stderr.write(f"fullstory-async: standard output: {error}\n")
    return exit_for(error)
