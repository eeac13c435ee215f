"""Privacy: keeps the API key and the user that a call is about out of logs, errors and tracebacks.

* The API key is a `Secret` wherever this package holds it. It is revealed for the header of a request, when
  that is written, and for its fingerprint.
* Text that a server quotes from a request goes through a `Redactor`, which replaces the key and the user that
  the call is about.
* Error trackers print the local variables of every frame that an exception has passed, and of the exceptions
  it is chained to. So errors are raised without the stack frames whose locals held arguments, URLs or bodies
  (`strip_traceback`). They leave this package through four doors: the pipeline, a public operation
  (`hide_arguments`), an outcome of a fan-out, and a stream.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

from fullstory_async.errors import FullStoryError, ProgramError
from fullstory_async.messages import PERSONAL_PARAMETERS, Request
from fullstory_async.secret import Secret
from fullstory_async.spelling import Reading, finder_of

__all__ = ["Redactor", "hide_arguments", "redact_subject", "strip_traceback"]

E = TypeVar("E", bound=BaseException)
P = ParamSpec("P")
T = TypeVar("T")

_THE_KEY, _A_LOGIN = "[the API key]", "[the proxy's password]"
_SHORTEST = 4
"""Length below which a text is too common to be replaced everywhere."""
_LONGEST = 256
"""Length above which everything that holds the beginning of the text is replaced."""
_LARGEST_BODY = 256 * 1024
"""Bytes of the body of an error response that are kept."""
_WITHOUT_FRAMES = frozenset({"fullstory_async", "aiohttp", "aiosignal"})
"""Packages whose frames hold the key, the URL or the body of a call."""


def strip_traceback(error: E) -> E:
    """Remove the stack frames from an exception and its causes, and the causes that aren't ours.

    The cause of a `ProgramError` is what its reader looks for, and keeps the frames of the program.
    """
    each: BaseException = error
    while True:
        each.__traceback__ = None
        if isinstance(each, ProgramError):
            each.__suppress_context__, each.__context__ = True, None
            _keep_program_frames(each.__cause__)
            return error
        cause = each.__cause__ if isinstance(each.__cause__, FullStoryError) else None
        each.__cause__, each.__context__, each.__suppress_context__ = cause, None, True
        if cause is None:
            return error
        each = cause


def _keep_program_frames(error: BaseException | None) -> None:
    """Remove the frames up to the last one of this package or aiohttp, from an exception and its causes."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        frames = error.__traceback__
        each = frames
        while each is not None:
            if str(each.tb_frame.f_globals.get("__name__")).partition(".")[0] in _WITHOUT_FRAMES:
                frames = each.tb_next
            each = each.tb_next
        error.__traceback__ = frames
        error.__context__ = error.__cause__
        error = error.__cause__


def hide_arguments(operation: Callable[P, T]) -> Callable[P, T]:
    """Raise an operation's errors with a traceback that holds none of its arguments.

    The same goes for its cancellation, and for whatever a constructor raises: what it was given may be a key.
    """
    run: Callable[..., Any] = operation
    stripped = Exception if operation.__name__ == "__init__" else FullStoryError

    @functools.wraps(operation)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return run(*args, **options)
        except stripped as error:
            failure = strip_traceback(error)
        finally:
            del args, options
        raise failure

    @functools.wraps(operation)
    async def call_later(*args: Any, **options: Any) -> Any:
        failure: BaseException
        try:
            return await run(*args, **options)
        except (FullStoryError, asyncio.CancelledError) as error:
            failure = strip_traceback(error)
        finally:
            del args, options
        raise failure

    return cast("Callable[P, T]", call_later if inspect.iscoroutinefunction(operation) else call)


class Redactor:
    """Removes secrets, and the user that a request is about, from the text of a server, gateway or proxy.

    Some of them quote the request that they refuse.
    """

    __slots__ = ("_secrets",)

    def __init__(self, key: Secret | None = None, more: Iterable[Secret] = ()) -> None:
        """Prepare for a key, and for more secrets."""
        known = [] if key is None else [(key, _THE_KEY)]
        self._secrets = (*known, *((each, _A_LOGIN) for each in more))

    def text(self, text: str, request: Request) -> str:
        """Return a body or the text of an exception without all of them."""
        reading = Reading(text)
        for secret, instead in self._secrets:
            reading = secret.redact(reading, instead)
        return _without_subject(reading, request).text

    def body(self, body: bytes, request: Request) -> bytes:
        """Return the body of an error response without all of them, whatever its encoding and escapes.

        Only its beginning if it is large: the search takes time, in which nothing else runs.
        """
        text = body[:_LARGEST_BODY].decode("utf-8", "surrogateescape")
        return self.text(text, request).encode("utf-8", "surrogateescape")

    def headers(self, headers: Mapping[str, str], request: Request) -> dict[str, str]:
        """Return the headers of a response without all of them, in names too."""
        together = "\n".join([*headers, *headers.values()])
        if self.text(together, request) == together:
            return dict(headers)
        return {self.text(name, request): self.text(value, request) for name, value in headers.items()}


def redact_subject(text: str, request: Request) -> str:
    """Return a text without the user that the request asks about."""
    return _without_subject(Reading(text), request).text if request.query else text


def _without_subject(reading: Reading, request: Request) -> Reading:
    for name, value in request.query:
        if name in PERSONAL_PARAMETERS and len(value) >= _SHORTEST:
            redacted = reading.without(finder_of(value[:_LONGEST]), instead := f"[the {name}]")
            is_whole = redacted is reading or len(value) <= _LONGEST
            reading = redacted if is_whole else Reading(instead)
    return reading
