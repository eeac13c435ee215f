"""The name of the command line as it was started, so that commands in messages work as they are typed."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

__all__ = ["program"]

_NAME = "fullstory-async"


def program() -> str:
    """Return the words that start this command line again from the same folder."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m fullstory_async"
    found = shutil.which(_NAME)
    if started.stem != _NAME or (found is not None and os.path.realpath(found) == os.path.realpath(started)):
        return _NAME
    return shlex.quote(sys.argv[0])
