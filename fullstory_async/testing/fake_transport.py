"""FakeTransport: a double without a socket, for tests in virtual time and for scripted responses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable

from fullstory_async.errors import ClientStateError, FullStoryError
from fullstory_async.http.call import Attempt
from fullstory_async.http.transport.unopened import State
from fullstory_async.messages import Request, Response, StreamedResponse

__all__ = ["FakeTransport", "Scripted", "json_response"]

Scripted = Response | FullStoryError
"""A response, or an error to raise in its place, such as ``ConnectError("refused", sent=False)``."""


class FakeTransport:
    """Responds from a script, or by a function; keeps what was sent and when.

    Everything above the network is real: retries, the rate limiter, budgets, decoding, errors. As it waits
    for nothing but timers, a test on a loop in virtual time takes no time::

        transport = FakeTransport([json_response(status=429), json_response({"events": []})])
        async with FullStoryClient("na1.test", transport=transport) as client:
            events = await client.sessions.events("123:456")
        assert len(transport.sent) == 2
    """

    sent: list[tuple[float, Request]]
    """Every request so far, with the time of the event loop at which it was sent."""
    state: State
    """Whether the client that uses it is open."""
    script: list[Scripted]
    """What is left of the script."""
    respond: Callable[[Request], Scripted] | None
    """Makes the responses once the script is used up."""
    slots: asyncio.Semaphore | None
    """Limits the number of requests under way, if a test sets it."""

    def __init__(
        self,
        script: Iterable[Scripted] = (),
        *,
        respond: Callable[[Request], Scripted] | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Make a transport for one client.

        Args:
            script: the responses, in order; errors in it are raised.
            respond: makes the responses once the script is used up.
            seconds: time that each request takes.
        """
        self.sent = []
        self.state = State.UNOPENED
        self.slots = None
        self.script = list(script)
        self.respond = respond
        self._seconds = seconds

    @property
    def requests(self) -> list[Request]:
        """Every request so far, without its time."""
        return [request for _, request in self.sent]

    def check(self) -> None:
        """Raise `ClientStateError` unless its client is open."""
        if self.state is not State.OPEN:
            raise ClientStateError(f"the client {self.state.value}")

    async def open(self) -> None:
        """Open it; its client does so. Raises `ClientStateError` if it was open before."""
        if self.state is not State.UNOPENED:
            raise ClientStateError(f"the client {self.state.value}")
        self.state = State.OPEN

    async def close(self) -> None:
        """Close it; its client does so."""
        self.state = State.CLOSED

    async def send(
        self,
        request: Request,
        deadline: float,  # noqa: ARG002  (the pipeline's part)
        attempt: Attempt,  # noqa: ARG002
        *,
        streamed: bool = False,
    ) -> Response:
        """Return the next response, or raise the next error; see `http.call.Transport`."""
        self.sent.append((asyncio.get_running_loop().time(), request))
        if self._seconds:
            await asyncio.sleep(self._seconds)
        response = self.next_response(request)
        return _streamed(response) if streamed and response.is_success else response

    def next_response(self, request: Request) -> Response:
        """Return the response to a request, or raise the error that the script has in its place.

        Raises:
            AssertionError: the script is used up.
        """
        if self.script:
            scripted = self.script.pop(0)
        elif self.respond is not None:
            scripted = self.respond(request)
        else:
            raise AssertionError(
                f"the script has no response for request {len(self.sent)}: {request.method} {request.path}"
            )
        if isinstance(scripted, FullStoryError):
            scripted.request = request
            raise scripted
        return scripted


def json_response(value: object = None, status: int = 200, **headers: str) -> Response:
    """Return a response with a JSON body; in names of headers ``_`` stands for ``-``.

    ::

        json_response({"events": []})
        json_response(status=429, retry_after="2")
    """
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    body = b"{}" if value is None else json.dumps(value).encode()
    return Response(status=status, headers=named, body=body)


def _streamed(response: Response) -> StreamedResponse:
    pieces = [response.body]

    async def read() -> bytes:
        return pieces.pop() if pieces else b""

    return StreamedResponse(status=response.status, headers=response.headers, read=read, close=pieces.clear)
