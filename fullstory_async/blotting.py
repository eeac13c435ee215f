"""Blotting out: what a text looks like, without what it says.

A message about an answer that can't be read has to show something of it, or nobody can tell a gateway's page from a
body that was cut off; and it must show nothing of the people that the answer is about. So punctuation stays, and of
the words only those that are HTML's or the API's own.
"""

from __future__ import annotations

import re

__all__ = ["outline"]

_SHOWN = 200
"""Bytes of a body that are shown."""

_NOBODYS = frozenset(
    {"html", "doctype", "events", "sessions", "profiles", "summary", "message", "code", "null"}
)


def outline(status: int, content_type: str, body: bytes) -> str:
    """Describe an answer by its status, kind, size and beginning, each letter an ``x`` and each digit a ``0``."""
    kind = content_type.partition(";")[0].strip()
    told = [f"status {status}", *([kind[:40]] if kind and kind.isprintable() else [])]
    text = "".join(c if c.isprintable() else " " for c in body[:_SHOWN].decode("utf-8", "replace"))
    start = re.sub(r"[^\W_]+", _blot, text).strip()
    return ", ".join([*told, f"{len(body)} bytes" + (f": {start}" if start else "")])


def _blot(word: re.Match[str]) -> str:
    text = word[0]
    return text if text.lower() in _NOBODYS else "".join("0" if c.isdigit() else "x" for c in text)
