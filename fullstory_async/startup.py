"""Ctrl-C while the command line is being imported: it ends the process silently.

The package itself is imported first, which takes most of a command's start, and no code of the command line
could catch a `KeyboardInterrupt` there. So the operating system ends the process until `main` is ready.
"""

from __future__ import annotations

import itertools
import signal
import sys

__all__ = ["end_on_interrupt", "raise_on_interrupt"]

_NAME = "fullstory_async"


def end_on_interrupt() -> None:
    """Let SIGINT end the process, if it is the command line; an ignored SIGINT stays ignored."""
    if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def raise_on_interrupt() -> None:
    """Undo `end_on_interrupt`."""
    if _is_command() and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_command() -> bool:
    """Return whether this process was started as ``fullstory-async`` or ``python -m fullstory_async``."""
    path = next(iter(sys.argv), "")  # a program that embeds Python may have none
    if path == "-m":  # until the package is imported; then it is the path of ``__main__``
        pairs = itertools.pairwise([*sys.orig_argv, ""])
        return any((option.partition("m")[2] or name) == _NAME for option, name in pairs if option[:1] == "-")
    # pathlib takes a while to be imported
    *_, folder, file = ["", *path.replace("\\", "/").split("/")]
    return file.partition(".")[0] == "fullstory-async" or (folder, file) == (_NAME, "__main__.py")
