"""SessionContext: what the service tells a language model about a session, for a model of one's own.

`SessionContext.to_markdown` writes it down for a prompt or a chat message. What stands in it comes from web pages and
their users, so text is escaped: it can't become a heading, emphasis, HTML, a mention of everybody, or a link under another
name. (A bare URL in it may still be made a link by what shows it.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import attrs

from fullstory_async import validators
from fullstory_async.models.coerce import mapping

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
_LONGEST_TEXT = 300


@attrs.frozen(kw_only=True)
class OrgContext:
    """The organisation that the session belongs to."""

    org_id: str | None = None
    name: str | None = None
    industry: str | None = None
    domain: str | None = None
    country: str | None = None


@attrs.frozen(kw_only=True)
class UserContext:
    """Whose session it is."""

    user_uid: str | None = None
    """Your own id of the user, the ``uid`` of `SessionsAPI.list`."""
    display_name: str | None = None
    email: str | None = None
    properties: dict[str, Any] = attrs.field(factory=dict, hash=False)
    """What your code told FullStory about the user, JSON untouched."""


@attrs.frozen(kw_only=True)
class LocationContext:
    """Where the device was."""

    country: str | None = None
    region: str | None = None
    city: str | None = None


@attrs.frozen(kw_only=True)
class ScreenSize:
    """Width and height in pixels."""

    width_pixels: int | None = None
    height_pixels: int | None = None


@attrs.frozen(kw_only=True)
class DeviceContext:
    """The device."""

    browser: str | None = None
    operating_system: str | None = None
    screen_size: ScreenSize | None = None
    viewport_size: ScreenSize | None = None


@attrs.frozen(kw_only=True)
class ContextEvent:
    """One event as the language model is told of it. Its types have dashes, unlike those of `SessionEvent`."""

    type: str = ""
    """``navigate``, ``click``, ``rage-click``, …; an open set."""
    description: str | None = None
    """What happened, in words."""
    timestamp: datetime | None = None
    """When, with a time zone; ``None`` where it was left out or can't be read."""
    content: str | None = None
    """The element's text, or the message."""
    properties: dict[str, Any] = attrs.field(factory=dict, hash=False)
    """More, JSON untouched."""
    screenshot_url: str | None = None
    """A picture, where `MediaOptions` asked for it."""


@attrs.frozen(kw_only=True)
class ContextPage:
    """One page, with what happened there."""

    url: str | None = None
    title: str | None = None
    tab: int | None = None
    """The browser's tab, counted from 1; web only."""
    events: tuple[ContextEvent, ...] = ()


@attrs.frozen(kw_only=True)
class SessionContext:
    """A session as a language model is told of it: who, where, with what, and page by page what happened."""

    session_id: str = ""
    """The session; from the request where the answer does not repeat it."""

    session_url: str | None = None
    """The replay URL."""

    created: datetime | None = None
    """When the session began, with a time zone."""

    org: OrgContext | None = None
    """The organisation; ``None`` where it was left out, as are the next three."""

    user: UserContext | None = None
    """The user."""

    location: LocationContext | None = None
    """The place."""

    device: DeviceContext | None = None
    """Browser, system and screen."""

    pages: tuple[ContextPage, ...] = ()
    """The pages in the answer's order."""

    raw: bytes = attrs.field(default=b"", repr=False, eq=False)
    """The answer as it came."""

    def to_markdown(self, *, max_characters: int = 12_000) -> str:
        """Write the context as Markdown for a prompt or a chat message.

        Args:
            max_characters: the most that is returned; a language model reads about four characters as one
                token. Of a longer session the beginning and the end are kept, and a line between them says how much was
                left out.

        Raises:
            ConfigurationError: ``max_characters`` is no whole number above 0.
        """
        validators.positive(max_characters, "max_characters")
        head, body = list(self._head()), list(self._body())
        return _fitted("\n".join(head) + "\n", body, max_characters)

    def _head(self) -> Iterator[str]:
        yield f"# Session {_escaped(self.session_id)}"
        yield ""
        facts: dict[str, Any] = {"Replay": _url(self.session_url) if self.session_url else None}
        facts["Began"] = None if self.created is None else self.created.isoformat(timespec="seconds")
        if (user := self.user) is not None:
            facts["User"] = _joined(user.display_name, user.email, user.user_uid)
            facts["Properties"] = _joined(
                *(f"{name}: {value}" for name, value in mapping(user.properties).items())
            )
        if (org := self.org) is not None:
            facts["Organisation"] = _joined(org.name, org.industry, org.domain)
        if (place := self.location) is not None:
            facts["Place"] = _joined(place.city, place.region, place.country)
        if (device := self.device) is not None:
            facts["Device"] = _joined(device.browser, device.operating_system)
        for name, value in facts.items():
            if value:
                yield f"- {name}: {value}"

    def _body(self) -> Iterator[str]:
        for page in self.pages:
            yield ""
            tab = "" if page.tab is None else f" (tab {page.tab})"
            yield f"## {_escaped(page.title or page.url or 'A page')}{tab}"
            yield ""
            if page.title and page.url:
                yield _url(page.url)
                yield ""
            for event in page.events:
                yield self._line(event)

    def _line(self, event: ContextEvent) -> str:
        when = ""
        if event.timestamp is not None:
            since = None if self.created is None else (event.timestamp - self.created).total_seconds()
            clock = event.timestamp.strftime("%H:%M:%S")
            when = f"{clock} " if since is None or since < 0 else f"{_offset(since)} "
        text = event.description or event.content or ""
        content = event.content if event.content and event.content not in text else None
        return f"- {when}**{_escaped(event.type or 'event')}** {_joined(text, content)}".rstrip()


def _offset(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"+{hours}:{minutes:02}:{rest:02}" if hours else f"+{minutes}:{rest:02}"


def _joined(*texts: Any) -> str:
    return ", ".join(_escaped(str(text)) for text in texts if text not in (None, ""))


def _escaped(text: str) -> str:
    """Make one line of a text from somebody's page, with nothing in it that Markdown or a chat would act on."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(plain) > _LONGEST_TEXT:
        plain = plain[: _LONGEST_TEXT - 1] + "…"
    return _MENTION.sub("@\u200b", _SPECIAL.sub(r"\\\1", plain))


def _url(url: str) -> str:
    """Put a web address in angle brackets, with nothing in it that ends them; anything else is text."""
    plain = "".join(c for c in url if c.isprintable() and c not in "<> ")
    return f"<{plain}>" if re.match(r"https?://", plain) else _escaped(url)


def _fitted(head: str, body: list[str], limit: int) -> str:
    """Keep a text within ``limit`` characters: the head, then as much from both ends of the body as fits."""
    whole = head + "".join(f"{line}\n" for line in body)
    if len(whole) <= limit:
        return whole
    marker = "\n*… {} lines left out …*\n\n"
    room = limit - len(head) - len(marker.format(len(body)))
    first = _count_fitting(body, room // 2)
    last = _count_fitting(body[first:][::-1], room - sum(len(line) + 1 for line in body[:first]))
    left_out = len(body) - first - last
    kept = [*(f"{line}\n" for line in body[:first]), marker.format(left_out)]
    kept += [f"{line}\n" for line in body[len(body) - last :]]
    text = head + "".join(kept)
    return text if len(text) <= limit else text[: max(0, limit - 2)] + "…\n"[:limit]


def _count_fitting(lines: list[str], room: int) -> int:
    """Return how many of the first lines fit into so many characters."""
    for count, line in enumerate(lines):
        room -= len(line) + 1
        if room < 0:
            return count
    return len(lines)
