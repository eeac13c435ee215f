"""Reads the beginning of a streamed response, so that it can be judged before it is delivered."""

from __future__ import annotations

import asyncio

import attrs

from fullstory_async.errors import APITimeoutError
from fullstory_async.http.plausibility import assess_head
from fullstory_async.http.transport.deadlines import Deadline, Deadlines
from fullstory_async.messages import Request, Response, StreamedResponse

__all__ = ["read_head", "with_head"]

_LONGEST_HEAD = 64 * 1024
"""Bytes after which a response that is still undecided is read to its end."""


async def read_head(request: Request, response: StreamedResponse, deadline: float) -> Response:
    """Read a response until its beginning decides whether it can be FullStory's.

    Args:
        request: what was sent.
        response: the response, of which nothing was read.
        deadline: loop time by which the beginning must have arrived.

    Returns:
        What was read so far, as a response without a connection.

    Raises:
        TransportError: the connection broke, or the beginning took too long.
    """
    read = Response(status=response.status, headers=response.headers, elapsed=response.elapsed)
    head = bytearray()
    deadlines = Deadlines(asyncio.get_running_loop())
    try:
        with Deadline(deadlines, deadline):
            while piece := await response.read():
                head += piece
                is_head = len(head) - len(piece) < _LONGEST_HEAD
                if is_head and assess_head(request, attrs.evolve(read, body=bytes(head))) is not None:
                    break
    except TimeoutError as error:
        response.close()
        if isinstance(error, APITimeoutError):
            raise
        text = "the call's time was over before the response began"
        raise APITimeoutError(text, request=request) from None
    except BaseException:
        response.close()
        raise
    finally:
        deadlines.close()
    return attrs.evolve(read, body=bytes(head))


def with_head(response: StreamedResponse, head: bytes) -> StreamedResponse:
    """Return a response that delivers the bytes that `read_head` has read first."""
    rest = response.read

    async def read() -> bytes:
        nonlocal head
        piece, head = head, b""
        return piece or await rest()

    return attrs.evolve(response, read=read)
