"""Exceptions of the program's own code, raised in the middle of a call.

A trace hook, a custom meter or a patched module may raise anything. The caller learns that, and how far the
call came: an exception that looks like the network's would be judged as if nothing was sent.
"""

from __future__ import annotations

from fullstory_async.errors import ProgramError
from fullstory_async.http.call import Call
from fullstory_async.privacy import Redactor, strip_traceback

__all__ = ["RaisedByHook", "program_error"]


class RaisedByHook(Exception):
    """Carries the exception of a trace hook past all code that would take it for the network's or ours."""

    def __init__(self, raised: BaseException) -> None:
        """Carry an exception."""
        super().__init__(raised)
        self.raised = raised


def program_error(call: Call, raised: BaseException, redactor: Redactor) -> ProgramError:
    """Return the error for an exception that isn't ours, and record in the call that its attempt is over.

    An activation that was reserved for a sent attempt stays counted.
    """
    if isinstance(raised, RaisedByHook):
        raised = raised.raised
    call.charged += call.in_flight and call.request.metered
    call.in_flight = False
    said = redactor.text(str(raised), call.request)
    text = f"code of the program raised {type(raised).__name__} during the call" + (
        f": {said}" if said else ""
    )
    error = ProgramError(text, request=call.request, response=call.undecoded)
    error.__cause__ = raised
    call.describe(error)
    return strip_traceback(error)
