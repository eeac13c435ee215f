"""Faults: how the sandbox misbehaves on request.

`Fault` is the catalogue, `FaultRule` says when one applies. A fault is an async function of an `Exchange` and of
``proceed``, which does the normal work (and charges the activation): it may answer in its stead, or spoil
the answer after. Every fault is truly on the wire: what the HTTP server would not send is written on its connection
past it. So a new kind is one more function of that shape; nothing else has to know of it.
"""

from fullstory_async.sandbox.faults.exchange import Behaviour, Exchange, Proceed
from fullstory_async.sandbox.faults.parser import Entry, catalogue, read_fault
from fullstory_async.sandbox.faults.registry import Fault
from fullstory_async.sandbox.faults.rules import FaultRule

__all__ = ["Behaviour", "Entry", "Exchange", "Fault", "FaultRule", "Proceed", "catalogue", "read_fault"]
