"""How a command runs: on an event loop of its own, with its log and its warnings on standard error."""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, TypeVar

from fullstory_async.models import UnknownEventTypeWarning

__all__ = ["run_async", "warnings_as_messages"]

T = TypeVar("T")


def run_async(command: Coroutine[Any, Any, T], *, verbose: bool) -> T:
    """Run a command to its end; with ``verbose``, log each request."""
    if not verbose:
        return asyncio.run(command)
    logger, handler = logging.getLogger("fullstory_async"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        return asyncio.run(command)
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@contextmanager
def warnings_as_messages() -> Iterator[None]:
    """Say the library's warnings as a command says things: one line, without a place in the code."""

    def say(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, UnknownEventTypeWarning):
            sys.stderr.write(f"fullstory-async: {message}\n")
        else:
            show(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UnknownEventTypeWarning)
        show = warnings.showwarning
        warnings.showwarning = say
        yield
