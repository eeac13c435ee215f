"""Commands on a terminal of their own: a pseudo-terminal that is the controlling one of a new session."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import attrs

from tests.limits import SECONDS

# The leader of the new session opens the terminal, which makes it the controlling one. Then the command runs in
# the leader's own process group, which is in the foreground, or in a group of its own in the background.
_LEADER = """
import os, signal, subprocess, sys
signal.signal(signal.SIGINT, lambda *_: None)
name, group, streams, *command = sys.argv[1:]
terminal = os.open(name, os.O_RDWR)
chosen = {stream: terminal for stream in streams.split(",") if stream}
sys.exit(subprocess.run(command, process_group=None if group == "foreground" else 0, **chosen).returncode)
"""


def variables(more: dict[str, str]) -> dict[str, str]:
    """Return an environment in which commands ask their questions."""
    return {name: value for name, value in os.environ.items() if name != "FULLSTORY_YES"} | more


@attrs.frozen(kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    shown: str
    """What the terminal showed."""
    out: str
    """What was printed to streams that were not the terminal."""
    err: str


def on_terminal(
    *arguments: str,
    cwd: Path,
    typed: str = "",
    streams: str = "stdin,stderr",
    background: bool = False,
    stdin: bytes = b"",
    environment: dict[str, str] | None = None,
) -> Ended:
    """Run a command of ours on a terminal.

    Args:
        arguments: the command line.
        cwd: its directory.
        typed: the answer to the first question.
        streams: the standard streams that are the terminal; the others are files.
        background: whether the command is in a process group that is not the foreground one.
        stdin: standard input, if it is a file.
        environment: more variables.
    """
    terminal, inside = pty.openpty()
    name = os.ttyname(inside)
    command = [sys.executable, "-c", _LEADER, name, "background" if background else "foreground", streams]
    command += [sys.executable, "-m", "fullstory_async", *arguments]
    files = [cwd / ".stdin", cwd / ".stdout", cwd / ".stderr"]
    files[0].write_bytes(stdin)
    with files[0].open("rb") as source, files[1].open("wb") as out, files[2].open("wb") as err:
        process = subprocess.Popen(
            command, stdin=source, stdout=out, stderr=err, cwd=cwd, start_new_session=True,
            env=variables({"TERM": "xterm", **(environment or {})}),
        )  # fmt: skip
    shown = b""
    while process.poll() is None or select.select([terminal], [], [], 0)[0]:
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 65536)
        if typed and b"[y/N] " in shown:
            os.write(terminal, typed.encode())
            typed = ""
    os.close(inside)
    os.close(terminal)
    texts = [path.read_text(errors="replace") for path in files[1:]]
    for path in files:
        path.unlink()
    return Ended(code=process.wait(SECONDS), shown=shown.decode(errors="replace"), out=texts[0], err=texts[1])


def without_terminal(
    *arguments: str, cwd: Path, stdin: bytes = b"", environment: dict[str, str] | None = None
) -> Ended:
    """Run a command of ours in a session that has no terminal, as cron does."""
    done = subprocess.run(
        [sys.executable, "-m", "fullstory_async", *arguments], input=stdin, capture_output=True, cwd=cwd,
        start_new_session=True, env=variables(environment or {}), timeout=SECONDS, check=False,
    )  # fmt: skip
    return Ended(code=done.returncode, shown="", out=done.stdout.decode(), err=done.stderr.decode())
