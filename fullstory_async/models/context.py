"""SessionContext: a compact description of a session for your own LLM prompt.

`SessionContext.to_markdown` writes it as text for a prompt or a chat message. Its content comes from web
pages and their users, so text is escaped: it can't become a heading, emphasis, HTML, a mention of
all members, or a link with a misleading name. (A bare URL in it may still be turned into a link by the
program that displays it.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import attrs

from fullstory_async import validators
from fullstory_async.amounts import counted
from fullstory_async.coerce import mapping
from fullstory_async.json_ready import JsonReady
from fullstory_async.models.described import clock
from fullstory_async.notebook_html import fact_table, table
from fullstory_async.response_info import HasResponseInfo

__all__ = [
    "ContextEvent",
    "ContextPage",
    "DeviceContext",
    "LocationContext",
    "OrgContext",
    "ScreenSize",
    "SessionContext",
    "UserContext",
]

_SPECIAL = re.compile(r"([\\`*_\[\]<>~])")
_MENTION = re.compile(r"@(?=everyone|here|channel)")
_MAX_TEXT = 300


@attrs.frozen(kw_only=True)
class OrgContext(JsonReady):
    """The organisation that the session belongs to."""

    org_id: str | None = None
    """FullStory's id of the organisation."""
    name: str | None = None
    """Its name."""
    industry: str | None = None
    """Its industry."""
    domain: str | None = None
    """Its internet domain."""
    country: str | None = None
    """Its country, as an ISO 3166-1 alpha-2 code."""


@attrs.frozen(kw_only=True)
class UserContext(JsonReady):
    """The user that the session belongs to."""

    user_uid: str | None = None
    """Your own id for the user, the ``uid`` of `SessionsAPI.list`."""
    display_name: str | None = None
    """The user's name."""
    email: str | None = None
    """The user's e-mail address."""
    properties: dict[str, Any] = attrs.field(factory=dict, hash=False)
    """The user properties that your code sent, as decoded JSON."""


@attrs.frozen(kw_only=True)
class LocationContext(JsonReady):
    """The device's location."""

    country: str | None = None
    """The country, as an ISO 3166-1 alpha-2 code."""
    region: str | None = None
    """The region or state."""
    city: str | None = None
    """The city."""


@attrs.frozen(kw_only=True)
class ScreenSize(JsonReady):
    """Width and height in pixels."""

    width_pixels: int | None = None
    """Width in pixels."""
    height_pixels: int | None = None
    """Height in pixels."""


@attrs.frozen(kw_only=True)
class DeviceContext(JsonReady):
    """The browser, the operating system and the screen."""

    browser: str | None = None
    """The browser and its version."""
    operating_system: str | None = None
    """The operating system and its version."""
    screen_size: ScreenSize | None = None
    """Size of the screen."""
    viewport_size: ScreenSize | None = None
    """Size of the page's visible part."""


@attrs.frozen(kw_only=True)
class ContextEvent(JsonReady):
    """One event of a context. Its types have dashes, unlike those of `SessionEvent`."""

    type: str = ""
    """``navigate``, ``click``, ``rage-click``, …; an open set."""
    description: str | None = None
    """What happened, in words."""
    timestamp: datetime | None = None
    """When, with a time zone; ``None`` if it was excluded or can't be read."""
    content: str | None = None
    """The element's text, or the error message."""
    properties: dict[str, Any] = attrs.field(factory=dict, hash=False)
    """Further properties, as decoded JSON."""
    screenshot_url: str | None = None
    """The screenshot, if `MediaOptions` asked for one."""


@attrs.frozen(kw_only=True)
class ContextPage(JsonReady):
    """One page and its events."""

    url: str | None = None
    """The page's URL."""
    title: str | None = None
    """The page's title."""
    tab: int | None = None
    """Number of the browser's tab, from 1; web only."""
    events: tuple[ContextEvent, ...] = ()


@attrs.frozen(kw_only=True)
class SessionContext(HasResponseInfo, JsonReady):
    """A compact description of a session: user, location, device, pages, events."""

    session_id: str = ""
    """The session; from the request if the response omits it."""

    session_url: str | None = None
    """The replay URL."""

    created: datetime | None = None
    """Start of the session, with a time zone."""

    org: OrgContext | None = None
    """The organisation; like the next three, ``None`` if it was excluded."""

    user: UserContext | None = None
    """The user."""

    location: LocationContext | None = None
    """The location."""

    device: DeviceContext | None = None
    """Browser, operating system and screen."""

    pages: tuple[ContextPage, ...] = ()
    """The pages in the response's order."""

    raw: bytes = attrs.field(default=b"", repr=False, eq=False)
    """The response body, unchanged."""

    def to_markdown(self, *, max_characters: int = 12_000) -> str:
        """Write the context as Markdown for a prompt or a chat message.

        Args:
            max_characters: the maximum length of the result; four characters are about one token. A longer
                session keeps its start and its end, with a line between them that says how much was left out.

        Raises:
            ConfigurationError: ``max_characters`` is not an integer of 1 or more.
        """
        validators.positive_integer(max_characters, "max_characters")
        head, body = list(self._head()), list(self._body())
        return _fit("\n".join(head) + "\n", body, max_characters)

    def _repr_html_(self) -> str:
        """Return what is known of the session, and a table of its pages, for notebooks."""
        facts = {name: ", ".join(map(str, values)) for name, values in self._facts().items()}
        rows = ((page.title, page.url, page.tab, len(page.events)) for page in self.pages)
        return fact_table("Context of a session", {"Session": self.session_id, **facts}) + table(
            counted(len(self.pages), "page"), ("title", "url", "tab", "events"), rows, len(self.pages)
        )

    def _head(self) -> Iterator[str]:
        yield f"# Session {_escape(self.session_id)}"
        yield ""
        if self.session_url:
            yield f"- Replay: {_url(self.session_url)}"
        for name, values in self._facts().items():
            yield f"- {name}: {_join(*values)}"

    def _facts(self) -> dict[str, list[Any]]:
        """Return what is known of the session: for each name the values that are known."""
        facts: dict[str, tuple[Any, ...]] = {}
        if self.created is not None:
            facts["Began"] = (f"{self.created.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",)
        if (user := self.user) is not None:
            facts["User"] = user.display_name, user.email, user.user_uid
            facts["Properties"] = tuple(f"{name}: {v}" for name, v in mapping(user.properties).items())
        if (org := self.org) is not None:
            facts["Organisation"] = org.name, org.industry, org.domain
        if (place := self.location) is not None:
            facts["Place"] = place.city, place.region, place.country
        if (device := self.device) is not None:
            facts["Device"] = device.browser, device.operating_system
        known = {name: [v for v in values if v not in (None, "")] for name, values in facts.items()}
        return {name: values for name, values in known.items() if values}

    def _start(self) -> datetime | None:
        """Return what times count from: the session's first event, as in a timeline of its events.

        The first one of the context may be a later one. So it is the session's start, unless the clock of the
        user's device is behind the service's.
        """
        times = [event.timestamp for page in self.pages for event in page.events]
        return min((when for when in (self.created, *times) if when is not None), default=None)

    def _body(self) -> Iterator[str]:
        start = self._start()
        for page in self.pages:
            yield ""
            tab = "" if page.tab is None else f" (tab {page.tab})"
            yield f"## {_escape(page.title or page.url or 'A page')}{tab}"
            yield ""
            if page.title and page.url:
                yield _url(page.url)
                yield ""
            for event in page.events:
                yield _line(event, start)


def _line(event: ContextEvent, start: datetime | None) -> str:
    when = ""
    if event.timestamp is not None and start is not None:
        when = f"{clock((event.timestamp - start).total_seconds())} "
    text = event.description or event.content or ""
    # most descriptions quote the content already
    content = event.content if event.content and event.content not in text else None
    return f"- {when}**{_escape(event.type or 'event')}** {_join(text, content)}".rstrip()


def _join(*texts: Any) -> str:
    return ", ".join(_escape(str(text)) for text in texts if text not in (None, ""))


def _escape(text: str) -> str:
    """Return a web page's text as one line in which Markdown and chats see plain text."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(plain) > _MAX_TEXT:
        plain = plain[: _MAX_TEXT - 1] + "…"
    # a zero-width space breaks the mention and can't be seen
    return _MENTION.sub("@\u200b", _SPECIAL.sub(r"\\\1", plain))


def _url(url: str) -> str:
    """Return a web URL in angle brackets, or any other text escaped."""
    # a bracket or a space in the URL would end the link
    plain = "".join(c for c in url if c.isprintable() and c not in "<> ")
    return f"<{plain}>" if re.match(r"https?://", plain) else _escape(url)


def _fit(head: str, body: list[str], limit: int) -> str:
    """Limit a text's length: keep the head, and lines from both ends of the body."""
    full = head + "".join(f"{line}\n" for line in body)
    if len(full) <= limit:
        return full
    marker = "\n*… {} lines left out …*\n\n"
    room = limit - len(head) - len(marker.format(len(body)))
    # half of the room for the start, and what it does not use for the end
    first = _count_fitting(body, room // 2)
    last = _count_fitting(body[first:][::-1], room - sum(len(line) + 1 for line in body[:first]))
    left_out = len(body) - first - last
    kept = [*(f"{line}\n" for line in body[:first]), marker.format(left_out)]
    kept += [f"{line}\n" for line in body[len(body) - last :]]
    text = head + "".join(kept)
    # the head alone may be too long
    return text if len(text) <= limit else text[: max(0, limit - 2)] + "…\n"[:limit]


def _count_fitting(lines: list[str], room: int) -> int:
    """Return the number of first lines that fit into ``room`` characters."""
    for count, line in enumerate(lines):
        room -= len(line) + 1
        if room < 0:
            return count
    return len(lines)
