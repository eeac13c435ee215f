"""CallOptions: what a caller may set on a single call, checked when they are created."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

import attrs

from fullstory_async import validators
from fullstory_async.errors import ConfigurationError
from fullstory_async.messages import Request

__all__ = ["HEADER_NAME", "CallOptions", "ExtraQuery", "checked_headers"]

ExtraQuery = Mapping[str, str | int | bool]

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = frozenset({"authorization", "host", "content-length", "transfer-encoding", "connection"})


def _query(given: ExtraQuery | None) -> tuple[tuple[str, str], ...]:
    return tuple(
        (str.__str__(name), _query_text(name, value))
        for name, value in _checked_mapping("extra_query", given)
    )


def _query_text(name: str, value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Integral) and abs(int(value)) <= validators.MAX_INTEGER:
        return str(int(value))
    raise ConfigurationError(
        f"extra_query[{name!r}] must be text, an integer of 64 bits or a boolean, not {type(value).__name__}"
    )


def checked_headers(given: Mapping[str, str] | None) -> dict[str, str]:
    """Return headers that can be sent beside our own. Raises `ConfigurationError` for others."""
    checked = dict(_checked_mapping("extra_headers", given))
    for name, value in checked.items():
        if not HEADER_NAME.fullmatch(name):
            raise ConfigurationError(f"{name!r} is not a header name")
        if name.lower() in _OURS:
            raise ConfigurationError(f"the header {name} is the client's own and can't be replaced")
        if not (isinstance(value, str) and value.isprintable() and value.isascii()):
            raise ConfigurationError(f"the value of the header {name} is not printable ASCII text")
    return {str.__str__(name): str.__str__(value) for name, value in checked.items()}


def _checked_mapping(option: str, given: Any) -> Iterable[tuple[str, Any]]:
    if given is None:
        return ()
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ConfigurationError(f"{option} must be a mapping with text for keys, not {type(given).__name__}")
    return given.items()


@attrs.frozen
class CallOptions:
    """The options of one call."""

    timeout: float | None = attrs.field(default=None, validator=validators.number(above=0, optional=True))
    """Seconds for the whole call, instead of the configured ``overall_timeout``."""

    query: tuple[tuple[str, str], ...] = attrs.field(default=None, converter=_query, repr=False)
    """Query parameters to add; they replace parameters of the same name."""

    headers: Mapping[str, str] = attrs.field(default=None, converter=checked_headers, repr=False)
    """Headers to add."""

    priority: bool = attrs.field(default=False, validator=validators.instance_of(bool))
    """Whether the call gets the next token, ahead of every non-priority call on the same limiter."""

    @classmethod
    def from_arguments(
        cls,
        timeout: float | None,
        query: ExtraQuery | None,
        headers: Mapping[str, str] | None,
        *,
        priority: bool = False,
    ) -> CallOptions:
        """Return the options of a caller's arguments, which mostly are the defaults."""
        is_default = timeout is None and query is None and headers is None and priority is False
        return DEFAULT_OPTIONS if is_default else cls(timeout, query, headers, priority)

    def apply(self, request: Request) -> Request:
        """Return the request with these options.

        Raises `ConfigurationError` for text that a URL can't hold.
        """
        if not (self.query or self.headers or request.query or self.priority):
            return request
        added = {name for name, _ in self.query}
        query = tuple(pair for pair in request.query if pair[0] not in added) + self.query
        for name, text in query:
            if not _encodable(name + text):
                raise ConfigurationError(f"the query parameter {name!a} holds a lone surrogate")
        return attrs.evolve(request, query=query, headers=self.headers, priority=self.priority)


DEFAULT_OPTIONS = CallOptions()


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
