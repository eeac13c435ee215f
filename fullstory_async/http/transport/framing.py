"""Framing: how the head of a response says where its body ends, tidied where servers say it sloppily."""

from __future__ import annotations

import re

__all__ = ["FRAMING", "SHORTEST_HEAD", "tidied"]

FRAMING = re.compile(rb"\n(?i:content-length|transfer-encoding):[ \t]*([^\r\n]*)")
SHORTEST_HEAD = len(b"HTTP/1.1 200\r\n\r\n")
_LENGTH, _CODING = b"content-length:", b"transfer-encoding:"


def tidied(head: bytes) -> bytes:
    """Return a head with one ``Content-Length``, if all agree; with none beside ``Transfer-Encoding``."""
    lines = head.split(b"\r\n")
    lengths = [line for line in lines if line[: len(_LENGTH)].lower() == _LENGTH]
    values = {value.strip() for line in lengths for value in line[len(_LENGTH) :].split(b",")}
    others = [line for line in lines if line not in lengths]
    if any(line[: len(_CODING)].lower() == _CODING for line in lines):
        return b"\r\n".join(others)
    if len(values) != 1 or (len(lengths) == 1 and b"," not in lengths[0]):
        return head
    return b"\r\n".join([others[0], b"Content-Length: " + values.pop(), *others[1:]])
