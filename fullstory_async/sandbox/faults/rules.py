"""`Fault`, the catalogue of faults, and the rules that say when one applies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Iterator
from weakref import WeakKeyDictionary

import attrs
from aiohttp import web

from fullstory_async import validators
from fullstory_async.deprecation import Renamed, warn_renamed
from fullstory_async.errors import ConfigurationError
from fullstory_async.sandbox.faults.bodies import BodyFaults
from fullstory_async.sandbox.faults.connections import ConnectionFaults
from fullstory_async.sandbox.faults.contents import ContentFaults
from fullstory_async.sandbox.faults.exchange import CallNext, Exchange, Handler
from fullstory_async.sandbox.faults.refusals import RefusalFaults
from fullstory_async.sandbox.faults.registry import fault

__all__ = ["Fault", "FaultRule", "FaultRules", "catalogue"]


@attrs.frozen
class Fault(RefusalFaults, ConnectionFaults, BodyFaults, ContentFaults):
    """One way to misbehave, for `Sandbox.inject`; each maker below documents its parameters.

    Refusals come before any work, so nothing is charged. All others come after it: the activation is spent.
    Where real services do both, the parameter ``charged`` chooses. Makers raise `ConfigurationError` for a
    parameter that they can't use. Write your own fault as::

        async def teapot(exchange, call_next):  # call_next() does the work and returns the normal response
            return exchange.error(418, "teapot", "I'm a teapot")

        sandbox.inject(Fault("teapot", "Be a teapot.", teapot), times=None)
    """

    name: str
    """Its name with parameters: ``status(503)``."""
    description: str
    """What it does, in one line."""
    handler: Handler = attrs.field(repr=False, eq=False)
    """Responds to the request."""

    behaviour = Renamed("handler")

    def __call__(self, exchange: Exchange, call_next: CallNext) -> Awaitable[web.StreamResponse]:
        """Respond to an exchange; ``call_next`` does the normal work."""
        return self.handler(exchange, call_next)

    @classmethod
    def veto(cls, code: int = 503, *, charged: bool = False) -> Fault:
        """Make the fault ``no_retry``, under its old name."""
        warn_renamed("Fault.veto", "Fault.no_retry")
        return cls.no_retry(code, charged=charged)


def catalogue() -> Iterator[fault[...]]:
    """List every fault, in the order of the groups and of their definition."""
    for group in Fault.__bases__:
        yield from (each for each in vars(group).values() if isinstance(each, fault))


def _check_share(_: object, __: object, value: object) -> None:
    if not (validators.is_number(value) and 0 <= value <= 1):  # type: ignore[operator]  # is a number by then
        raise ConfigurationError(f"share must be a number from 0 to 1, not {value!r}")


@attrs.define(kw_only=True)
class FaultRule:
    """When a fault applies: every condition must hold. Raises `ConfigurationError` for invalid ones.

    ``skip=n - 1, times=1`` selects the n-th matching request alone.
    """

    fault: Fault = attrs.field(validator=validators.instance_of(Fault))
    operation: str | None = None
    """Only this operation; ``None`` for all."""
    session_id: str | None = None
    """Only this session; ``None`` for all."""
    times: int | None = attrs.field(default=1, validator=validators.integer(at_least=1, optional=True))
    """Maximum number of times; ``None`` for no maximum."""
    skip: int = attrs.field(default=0, validator=validators.integer(at_least=0))
    """Number of matching requests to let through first."""
    share: float = attrs.field(default=1.0, validator=_check_share)
    """Probability, from 0 to 1, that the fault applies to a matching request."""
    seed: int | str = 0
    """Determines to which requests it applies. Each rule draws its own random numbers."""
    hits: int = attrs.field(default=0, init=False)
    """Number of times that the rule has applied."""
    _rng: random.Random = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def applies(self, exchange: Exchange) -> bool:
        """Return whether the fault applies to this request, and count it."""
        record = exchange.record
        if self.operation not in (None, record.operation) or self.session_id not in (None, record.session_id):
            return False
        # skipped requests count only if they match, and draw no random number
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        if self._rng.random() >= self.share:
            return False
        self.hits += 1
        return True


class FaultRules(list[FaultRule]):
    """The rules of a sandbox; the first that applies to a request acts."""

    next_handlers: WeakKeyDictionary[asyncio.BaseTransport, Handler]
    """Handlers that respond to the next request on a connection, before any rule."""

    def __init__(self) -> None:
        super().__init__()
        # weak, because a connection may close before its next request comes
        self.next_handlers = WeakKeyDictionary()

    def handler_for(self, exchange: Exchange) -> Handler | None:
        """Return what responds to a request; ``None`` for the normal work."""
        transport = exchange.request.transport
        if transport is not None and (handler := self.next_handlers.pop(transport, None)):
            return handler
        return next((rule.fault.handler for rule in self if rule.applies(exchange)), None)
