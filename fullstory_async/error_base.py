"""What every error of this package carries, and how its text describes the failure.

The tree of error classes is in `fullstory_async.errors`, which is also where to import these names from.
"""

from __future__ import annotations

import enum
import re
from typing import ClassVar

from fullstory_async.amounts import span
from fullstory_async.messages import Request, Response
from fullstory_async.response_info import find_request_id

__all__ = ["FullStoryError", "Scope", "describe_body", "mask_words", "without_secrets"]

_SHOWN_BYTES = 200
"""Number of bytes of a body that are shown."""

_LIKE_A_SECRET = re.compile(
    r"(?<![\w./])(?:na|eu)\d+\.[^\s'\"]*|(?<=:/)/?[^\s'\"/@]*@|(?<=\bpassword=)(?:\\?'[^']*'|\S+)"
)
"""An API key; the user and password of a URL; the password of a database."""

_SAFE_WORDS = frozenset(
    {"html", "doctype", "events", "sessions", "profiles", "summary", "message", "code", "null"}
)


class Scope(enum.Enum):
    """What an error is about, and so which other calls would fail as well."""

    PROGRAM = "program"
    """The program, its settings or arguments."""
    SESSION = "session"
    """This session or call alone; others may succeed."""
    KEY = "key"
    """The API key, or its role."""
    BUDGET = "budget"
    """The activation budget."""
    RATE = "rate"
    """The rate limit: the service, or our own limiter, asks for a longer wait than the call has."""
    SERVICE = "service"
    """The service, which failed."""
    NETWORK = "network"
    """The way to the service, or whoever responds in its place."""
    STORAGE = "storage"
    """A local file or the disk."""


class FullStoryError(Exception):
    """The base of every error of this package.

    Each error carries what is known; what is unknown is ``None``, ``0`` or ``False``.
    """

    scope: Scope = Scope.PROGRAM
    """What the error is about."""
    permanent: bool = False
    """Whether only a different call can succeed; otherwise time, another key or a larger budget may help."""

    _shows_status: ClassVar[bool] = False
    """Whether the text begins with the HTTP status."""
    _quotes_arguments: ClassVar[bool] = False
    """Whether the message may quote what was given to this package, which may be a key in the wrong place."""

    request: Request | None
    """The call that failed."""
    response: Response | None
    """The response, body included, if there was one."""
    message: str
    """What happened, in the service's own words if it gave any; `str` adds the call."""
    code: str | int | None
    """The service's own error code: a snake-case string, or an integer in the published description."""
    retry_after: float | None
    """Seconds that the service asked to wait."""
    attempts: int
    """Number of times that the request was handed to the network."""
    elapsed: float
    """Seconds from the call's start to the error."""
    may_have_cost: bool
    """Whether any of the attempts may have spent an activation."""

    def __init__(
        self,
        message: str = "",
        *,
        request: Request | None = None,
        response: Response | None = None,
        code: str | int | None = None,
        retry_after: float | None = None,
        may_have_cost: bool = False,
    ) -> None:
        message = without_secrets(message) if self._quotes_arguments else message
        super().__init__(message)
        self.message = message
        self.request = request
        self.response = response
        self.code = code
        self.retry_after = retry_after
        self.attempts = 0
        self.elapsed = 0.0
        self.may_have_cost = may_have_cost

    @property
    def method(self) -> str | None:
        """The HTTP method of the call."""
        return self.request.method if self.request else None

    @property
    def path(self) -> str | None:
        """The call's path, without the query."""
        return self.request.path if self.request else None

    @property
    def session_id(self) -> str | None:
        """The session that the call was about."""
        return self.request.session_id if self.request else None

    @property
    def status(self) -> int | None:
        """The HTTP status, if there was a response."""
        return self.response.status if self.response else None

    @property
    def request_id(self) -> str | None:
        """The service's number of the request, for questions to its support, if it sent one."""
        return find_request_id(self.response.headers) if self.response else None

    def __str__(self) -> str:
        # in the published OpenAPI description the code repeats the status
        code = None if self.code == self.status else self.code
        known = [self.status if self._shows_status else None, code]
        named = " ".join(str(part) for part in known if part is not None)
        text = f"{named}: {self._what()}" if named else self._what()
        if self.request is not None:
            # unescape the id, so that searching a log for it finds this line
            text = f"{self.request.method} {self.request.path.replace('%3A', ':')}: {text}"
        if self.retry_after is not None and self.retry_after >= 1:
            text += f" (try again in {span(self.retry_after)})"
        if self.attempts > 1:
            text += f" (after {self.attempts} attempts in {self.elapsed:.1f} s)"
        if self.may_have_cost:
            held_back = self.is_transient and self.attempts == 1
            why = ", so it was not sent again: see RetryPolicy.repeat_metered" if held_back else ""
            text += f" [may have cost an activation{why}]"
        return text

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed in a moment; `RetryPolicy` says if it is sent again."""
        return False

    def _what(self) -> str:
        return self.message


def without_secrets(text: str) -> str:
    """Return a text without what looks like an API key, or like the login in a URL.

    For messages that quote what was given: it may be in the wrong place.
    """
    return _LIKE_A_SECRET.sub(lambda found: "/<secret>@" if found[0][-1] == "@" else "<secret>", text)


def describe_body(status: int, content_type: str, body: bytes) -> str:
    """Describe a response by status, type, size and masked beginning."""
    kind = content_type.partition(";")[0].strip()
    parts = [f"status {status}", *([kind[:40]] if kind and kind.isprintable() else [])]
    start = mask_words(body).strip()
    return ", ".join([*parts, f"{len(body)} bytes" + (f": {start}" if start else "")])


def mask_words(body: bytes) -> str:
    """Return the beginning of a body, printable and with its words masked."""
    text = "".join(c if c.isprintable() else " " for c in body[:_SHOWN_BYTES].decode("utf-8", "replace"))
    return re.sub(r"[^\W_]+", _mask, text)


def _mask(word: re.Match[str]) -> str:
    """Mask a word unless it is harmless: ``x`` for a letter, ``0`` for a digit."""
    text = word[0]
    return text if text.lower() in _SAFE_WORDS else "".join("0" if c.isdigit() else "x" for c in text)
