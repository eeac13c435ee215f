"""The command line: its commands, and how each ends."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence

import cyclopts
from cyclopts import App

from fullstory_async._version import __version__
from fullstory_async.cli import sessions
from fullstory_async.cli.events import events
from fullstory_async.cli.exits import Exit, UsageError, exit_for
from fullstory_async.cli.fetching import fetch
from fullstory_async.cli.jobs import job
from fullstory_async.cli.output import console_that_lets_pipes_break
from fullstory_async.cli.profiles import profiles
from fullstory_async.cli.running import warnings_as_messages
from fullstory_async.cli.serving import demo, sandbox
from fullstory_async.cli.usage import usage_text
from fullstory_async.errors import DecodeError, FullStoryError

__all__ = ["output_lost", "run"]

_HELP = """List FullStory sessions, fetch their events, generate context and AI summaries, manage summary profiles.

Data goes to standard output, messages and progress to standard error. Try it without a key:
`fullstory-async demo`, or any command with `--sandbox`.

FullStory means this API for real-time activation, not for data export. Each events, context and summary call
costs one activation (1 000 a month on common plans); the rest is free.
"""
_EPILOGUE = """Exit codes: 0 ok · 1 unexpected · 2 usage · 3 some ids failed · 4 authentication · 5 not found ·
6 rate limit or deadline · 7 activation budget · 8 service or network down · 75 another process runs the job · 129 terminal closed · 130 interrupted · 141 nobody reads the output · 143 terminated
"""

app = App(
    name="fullstory-async",
    help=_HELP,
    help_epilogue=_EPILOGUE,
    help_format="markdown",
    version=__version__,
    console=console_that_lets_pipes_break(),
    print_error=False,  # `run` does
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
    """Run one command and return its exit code; an error is said in one line on standard error."""
    try:
        with warnings_as_messages():
            result = app(list(arguments), exit_on_error=False)
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
        text = "; ".join([str(error), *getattr(error, "__notes__", ())])
        sys.stderr.write(f"fullstory-async: {text}\n")
        return exit_for(error)
    return int(result) if isinstance(result, int) else Exit.OK


def output_lost(error: OSError) -> int:
    """Report output that was printed but could not be written, and return the exit code for it."""
    if not isinstance(error, BrokenPipeError):
        sys.stderr.write(f"fullstory-async: standard output: {error}\n")
    return exit_for(error)
