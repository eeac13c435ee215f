"""Privacy: keeps the API key and the user that a call is about out of logs, errors and tracebacks.

* The API key is a `Secret` wherever this package holds it; the repr of a secret does not show it.
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
import json
import re
from collections.abc import Callable, Iterable
from html import escape
from typing import Any, NoReturn, ParamSpec, Self, TypeVar, cast
from urllib.parse import quote, quote_plus

from yarl import URL

from fullstory_async.errors import FullStoryError, ProgramError
from fullstory_async.messages import PERSONAL_PARAMETERS, Request

__all__ = ["Redactor", "Secret", "hide_arguments", "redact_subject", "strip_traceback"]

E = TypeVar("E", bound=BaseException)
P = ParamSpec("P")
T = TypeVar("T")

_THE_KEY, _A_LOGIN = "[the API key]", "[the proxy's password]"
_SHORTEST_KEY = 8
_SHORTEST = 4
"""Length below which a text is too common to be replaced everywhere."""
_LONGEST = 256
"""Length above which everything that holds the text is replaced: a pattern for so long a text takes too long
to build."""
_WITHOUT_FRAMES = frozenset({"fullstory_async", "aiohttp", "aiosignal"})
"""Packages whose frames hold the key, the URL or the body of a call."""
_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})|\\/")


class Secret(str):
    """A text whose repr does not show it and that does not pickle.

    It is a `str`, as headers have to be: `str()` returns the text.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self


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

    The same goes for its cancellation.
    """
    run: Callable[..., Any] = operation

    @functools.wraps(operation)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return run(*args, **options)
        except FullStoryError as error:
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

    __slots__ = ("_replaced",)

    def __init__(self, key: str, more: Iterable[str] = ()) -> None:
        """Prepare for a key, and more secrets; a very short one may be a common word, so it is ignored."""
        self._replaced = tuple(
            (_written_forms(secret), Secret(_any_escaping(secret)), instead)
            for secret, instead in [(key, _THE_KEY), *((each, _A_LOGIN) for each in more)]
            if len(secret) >= _SHORTEST_KEY
        )

    def text(self, text: str, request: Request) -> str:
        """Return a header, or the text of an exception, without all of them."""
        for forms, _, instead in self._replaced:
            for form in forms:
                text = text.replace(form, instead)
        return redact_subject(text, request)

    def body(self, body: bytes, request: Request) -> bytes:
        """Return the body of an error response without all of them, whatever its encoding and escapes."""
        text = body.decode("utf-8", "surrogateescape")
        for _, pattern, instead in self._replaced:
            text = re.sub(pattern, instead, text, flags=re.IGNORECASE)
        return redact_subject(text, request).encode("utf-8", "surrogateescape")


def _written_forms(secret: str) -> tuple[Secret, ...]:
    """Return a secret as it is, and as JSON may escape it."""
    return Secret(secret), Secret(secret.replace("/", "\\/"))


def redact_subject(text: str, request: Request) -> str:
    """Return a text without the user that the request asks about."""
    for name, value in request.query:
        if name in PERSONAL_PARAMETERS and len(value) >= _SHORTEST:
            text = _redact_value(value, text, instead=f"[the {name}]")
    return text


def _redact_value(value: str, text: str, *, instead: str) -> str:
    """Replace a value in a text, or the whole text if the value is in it but no pattern finds it.

    Building the pattern takes milliseconds, so it is built only if there is something to replace.
    """
    encodings = _encodings(value)
    written = text.casefold(), _unescaped(text).casefold()
    if not any(encoding.casefold() in each for encoding in encodings for each in written):
        return text
    if len(value) > _LONGEST:
        return instead
    cleaned, times = re.subn("|".join(map(_any_escaping, encodings)), instead, text, flags=re.IGNORECASE)
    return cleaned if times else instead


def _unescaped(text: str) -> str:
    """Return a text without JSON's escapes; a pair of them may stand for one character."""
    plain = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else "/", text)
    return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _any_escaping(text: str) -> str:
    """Return a pattern for a text with any of its characters escaped as in JSON.

    Some servers escape ``+`` or ``/``.
    """
    return "".join(
        rf"(?:{re.escape(char)}|\\u{ord(char):04x}{'|' + re.escape(chr(92) + '/') if char == '/' else ''})"
        for char in text
    )


def _encodings(value: str) -> tuple[str, ...]:
    """Return a text as it is, and as URLs, JSON and HTML encode it."""
    sent = URL.build(query={"": value}).raw_query_string.removeprefix("=")
    return (
        value, sent, quote(value), quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1],
        escape(value),
    )  # fmt: skip
