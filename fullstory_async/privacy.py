"""Privacy: what is nobody else's business, kept out of what prints itself.

* The API key is a `Secret` wherever this package holds it: its repr does not show it.
* What a server quotes of a request goes through a `Redactor`: the key, and whom the call is about, are replaced.
* Error trackers print the variables of every frame that an exception has passed, and of those it is chained to. So an error leaves this
  package `bare`, at one of its four doors: the pipeline, a public operation (`hide_arguments`), an outcome, and a stream.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import re
from collections.abc import Callable
from html import escape
from typing import Any, NoReturn, ParamSpec, Self, TypeVar, cast
from urllib.parse import quote, quote_plus

from yarl import URL

from fullstory_async.errors import FullStoryError
from fullstory_async.messages import PERSONAL_PARAMETERS, Request

__all__ = ["Redactor", "Secret", "bare", "hide_arguments", "redact_subject"]

E = TypeVar("E", bound=BaseException)
P = ParamSpec("P")
T = TypeVar("T")

_SHORTEST_KEY = 8
_SHORTEST = 4
"""Characters below which a text is too common to be replaced wherever it stands."""
_LONGEST = 256
"""Characters above which all that holds a text is replaced with it: a pattern of such a text takes too long to make."""
_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})|\\/")


class Secret(str):
    """A text that its repr does not show and that does not pickle. It is a `str`, as headers have to be: `str()` gives the text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self


def bare(error: E) -> E:
    """Return an exception without the frames that it and its causes have passed, and without what is not ours among these."""
    each: BaseException = error
    while True:
        each.__traceback__ = None
        cause = each.__cause__ if isinstance(each.__cause__, FullStoryError) else None
        each.__cause__, each.__context__, each.__suppress_context__ = cause, None, True
        if cause is None:
            return error
        each = cause


def hide_arguments(operation: Callable[P, T]) -> Callable[P, T]:
    """Let the errors of an operation, or its cancellation, begin in the caller's frame and in one of ours that holds nothing."""
    waits: Callable[..., Any] = operation

    @functools.wraps(operation)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return waits(*args, **options)
        except FullStoryError as error:
            failure = bare(error)
        finally:
            del args, options
        raise failure

    @functools.wraps(operation)
    async def call_later(*args: Any, **options: Any) -> Any:
        failure: BaseException
        try:
            return await waits(*args, **options)
        except (FullStoryError, asyncio.CancelledError) as error:
            failure = bare(error)
        finally:
            del args, options
        raise failure

    return cast("Callable[P, T]", call_later if inspect.iscoroutinefunction(operation) else call)


class Redactor:
    """Takes one API key, and whom a request is about, out of what a server or gateway says. Some quote what they refuse."""

    __slots__ = ("_forms", "_pattern")

    def __init__(self, key: str) -> None:
        """Know the key; a very short one is none of FullStory's, and perhaps a common word."""
        # as it is, and as JSON may write it
        forms = (Secret(key), Secret(key.replace("/", "\\/")))
        self._forms = forms if len(key) >= _SHORTEST_KEY else ()
        self._pattern = Secret(_spelled(key) if self._forms else "(?!)")

    def text(self, text: str, request: Request) -> str:
        """Return a header, or the text of an exception, without them."""
        for form in self._forms:
            text = text.replace(form, "[the API key]")
        return redact_subject(text, request)

    def body(self, body: bytes, request: Request) -> bytes:
        """Do the same to the body of a refusal, whatever its bytes are and however it escapes characters."""
        text = body.decode("utf-8", "surrogateescape")
        text = re.sub(self._pattern, "[the API key]", text, flags=re.IGNORECASE)
        return redact_subject(text, request).encode("utf-8", "surrogateescape")


def redact_subject(text: str, request: Request) -> str:
    """Return a text without whom the request asks about."""
    for name, value in request.query:
        if name in PERSONAL_PARAMETERS and len(value) >= _SHORTEST:
            text = _without(value, text, instead=f"[the {name}]")
    return text


def _without(value: str, text: str, *, instead: str) -> str:
    """Replace a value in a text, or the whole text where the value stands in it as no pattern finds it.

    Making the pattern takes milliseconds, so that is done only where there is something to replace.
    """
    spellings = _spellings(value)
    written = text.casefold(), _unescaped(text).casefold()
    if not any(spelling.casefold() in each for spelling in spellings for each in written):
        return text
    if len(value) > _LONGEST:
        return instead
    cleaned, times = re.subn("|".join(map(_spelled, spellings)), instead, text, flags=re.IGNORECASE)
    return cleaned if times else instead


def _unescaped(text: str) -> str:
    """Return a text without JSON's escapes; two of them may be one character."""
    plain = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else "/", text)
    return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _spelled(text: str) -> str:
    """Return a regular expression for a text whose characters may be escaped as JSON allows it: some servers escape ``+`` or ``/``."""
    return "".join(
        rf"(?:{re.escape(char)}|\\u{ord(char):04x}{'|' + re.escape(chr(92) + '/') if char == '/' else ''})"
        for char in text
    )


def _spellings(value: str) -> tuple[str, ...]:
    """Return a text as it is, and as URLs, JSON and HTML write it."""
    sent = URL.build(query={"": value}).raw_query_string.removeprefix("=")
    return (
        value, sent, quote(value), quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1], escape(value),
    )  # fmt: skip
