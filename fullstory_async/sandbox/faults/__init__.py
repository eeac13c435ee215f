"""Faults: how the sandbox misbehaves on request.

`Fault` is the catalogue, and `FaultRule` says when one applies. A fault is an async handler of an `Exchange`
and of ``call_next``, which does the normal work and charges the activation. The handler responds instead of
the work, or changes the normal response. Every fault is real on the wire: what the HTTP server would refuse
to send is written to its connection directly. A new fault is one more handler with the `fault` decorator.
"""

from fullstory_async.sandbox.faults.exchange import CallNext, Exchange, Handler
from fullstory_async.sandbox.faults.parser import read_fault
from fullstory_async.sandbox.faults.rules import Fault, FaultRule, catalogue

__all__ = ["CallNext", "Exchange", "Fault", "FaultRule", "Handler", "catalogue", "read_fault"]
