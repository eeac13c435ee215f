"""Option values: session ids, times, ``--set group.field=value``, profile files, ledgers and redactions."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import attrs

from fullstory_async.cli.exits import UsageError
from fullstory_async.codec.request_bodies import parse_options
from fullstory_async.errors import ConfigurationError
from fullstory_async.files.ledger import ActivationLedger
from fullstory_async.jobs import JobPlan
from fullstory_async.models import ProfileConfiguration, ResponseSchema
from fullstory_async.models.event_types import Suspicion, check_context_type
from fullstory_async.session_id import SessionId

__all__ = [
    "ProfileFile",
    "open_ledger",
    "read_max_failures",
    "read_profile_file",
    "read_redactions",
    "read_session_id",
    "read_settings",
    "read_time",
    "reject_typo",
]

_EVENT_TYPE_OPTIONS = ("include_types", "exclude_types", "screenshot_event_types")
"""Options whose values are event types, in any group."""


def read_max_failures(text: str | None) -> int | str | None:
    """Return the value of ``--max-failures`` as a plan has it. Raises `UsageError`."""
    value = int(text) if text is not None and text.isdecimal() else text
    try:
        return JobPlan(events=True, max_failures=value).max_failures
    except ConfigurationError:
        raise UsageError(
            f"--max-failures must be a whole number, 1 or more, or a percentage such as 50%, not {text!r}"
        ) from None


def read_session_id(text: str) -> SessionId:
    """Read the id of a session to fetch. Warns of one that is not a pair, which FullStory may not know.

    Raises:
        InvalidSessionId: it can't be a session id.
        UsageError: it is an e-mail address, which would cost an activation, too.
    """
    session_id = SessionId.parse(text)
    if not session_id.is_pair:
        if "@" in session_id:
            raise UsageError(
                "an e-mail address is not a session id; 'fullstory-async sessions --email' lists a user's "
                "sessions"
            )
        sys.stderr.write("warning: this is not a USER:SESSION pair, so FullStory may not know it\n")
    return session_id


def read_time(text: str | None, option: str) -> datetime | None:
    """Read a time with a time zone. Raises `UsageError`, which names the option."""
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{option} must be a time like 2026-05-04T10:00:00Z, not {text!r}") from None
    if when.utcoffset() is None:
        raise UsageError(
            f"{option} has no time zone: write {when.isoformat()}Z for UTC, "
            f"or an offset such as {when.isoformat()}+02:00"
        )
    return when


def read_settings(
    pairs: Sequence[str], groups: Mapping[str, type[attrs.AttrsInstance]]
) -> dict[str, attrs.AttrsInstance]:
    """Read ``group.field=value`` settings into one instance per named group.

    Args:
        pairs: the settings, as given to ``--set``.
        groups: group name → its class.

    Raises:
        UsageError: a setting of another form, a file that can't be read, or a typo in an event type.
        ConfigurationError: an unknown field, or a value of the wrong type.
    """
    given: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        group, dot, field = name.strip().partition(".")
        if not (equals and dot and field):
            raise UsageError(f"--set takes group.field=value, as in slice.event_limit=50, not {pair!r}")
        if group not in groups:
            raise UsageError(f"--set knows the groups {', '.join(groups)}, not {group!r}")
        given.setdefault(group, {})[field] = _value(groups[group], field, text, name)
    read = {group: parse_options(fields, groups[group], group) for group, fields in given.items()}
    for options in read.values():
        for field in _EVENT_TYPE_OPTIONS:
            for name in getattr(options, field, None) or ():
                reject_typo(check_context_type(name))
    return read


def reject_typo(doubt: Suspicion | None) -> None:
    """Raise `UsageError` for an event type that is a typo."""
    # otherwise the typo would show only in the result, after the call has been paid for
    if doubt is not None and doubt.is_typo:
        raise UsageError(doubt.text)


def _value(group: type[attrs.AttrsInstance], field: str, text: str, name: str) -> Any:
    """Read a value according to its field's type; ``@FILE`` reads it from a file."""
    if text.startswith("@"):
        text = _text_of(text[1:]).removesuffix("\n")
    known = {each.name: each.type for each in attrs.fields(attrs.resolve_types(group))}
    kinds = get_args(known.get(field))
    if field not in known or str in kinds or datetime in kinds:
        return text
    is_list = any(getattr(kind, "__origin__", kind) is tuple for kind in kinds)
    if is_list and not text.lstrip().startswith("["):
        words = [word.strip() for word in text.split(",") if word.strip()]
        if not words:
            raise UsageError(f"--set {name} has no value")
        return words
    try:
        return json.loads(text)
    except ValueError:
        what = (
            "a JSON Schema (@FILE reads one from a file)"
            if ResponseSchema in kinds
            else "true, false or a number"
        )
        raise UsageError(f"--set {name} takes {what}, not {text[:60]!r}") from None


@attrs.frozen
class ProfileFile:
    """The content of a profile file."""

    id: str | None
    name: str | None
    configuration: ProfileConfiguration


def read_profile_file(path: str) -> ProfileFile:
    """Read a profile from a JSON or TOML file, or from standard input for ``-``.

    The groups may be at the top level, as ``profiles get`` prints them, or in ``configuration``, as the
    service does.

    Raises:
        UsageError: the file can't be read, or is neither JSON nor TOML.
        ConfigurationError: a field is unknown or has a wrong value; the message names it.
    """
    body = _parsed(_text_of(path), path)
    nested = body.pop("configuration", {})
    if not isinstance(nested, dict):
        raise UsageError(f"{path}: configuration must be an object")
    if twice := set(nested) & set(body):
        raise UsageError(f"{path}: {min(twice)} is given twice, in configuration and at the top level")
    profile_id, name = body.pop("id", None), body.pop("name", None)
    for field, value in (("id", profile_id), ("name", name)):
        if not isinstance(value, str | None):
            raise UsageError(f"{path}: {field} must be text, not {value!r:.60}")
    return ProfileFile(profile_id, name, parse_options({**nested, **body}, ProfileConfiguration))


def _parsed(text: str, path: str) -> dict[str, Any]:
    as_json = path.endswith(".json") or (not path.endswith(".toml") and text.lstrip()[:1] in ("{", "["))
    try:
        body = json.loads(text) if as_json else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        form = "JSON" if as_json else "TOML"
        raise UsageError(f"{path} can't be read as {form} (use JSON or TOML): {error}") from None
    if not isinstance(body, dict):
        raise UsageError(f"{path} must hold an object")
    return body


def _text_of(path: str) -> str:
    if path == "-" and sys.stdin is None:
        raise UsageError("standard input is closed")
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} can't be read: it is not UTF-8") from None


def read_redactions(texts: Sequence[str]) -> dict[str, Any]:
    """Read ``field,field=how`` texts into field → how. Raises `UsageError`."""
    hidden: dict[str, Any] = {}
    for text in texts:
        for field in text.split(","):
            name, _, how = field.strip().partition("=")
            if not name:
                raise UsageError(
                    f"--redact needs the names of fields, as in user_email,ip_address, not {text!r}"
                )
            hidden[name] = how or "drop"
    return hidden


def open_ledger(path: Path | None, monthly_cap: int | None) -> ActivationLedger | None:
    """Return the ledger of ``--ledger`` and ``--monthly-cap``, or None. Raises `UsageError`."""
    if monthly_cap is not None and path is None:
        raise UsageError("--monthly-cap needs --ledger")
    return None if path is None else ActivationLedger(path, monthly_cap=monthly_cap)
