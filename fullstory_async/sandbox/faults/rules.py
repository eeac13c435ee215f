"""When a fault applies."""

from __future__ import annotations

import random

import attrs

from fullstory_async import validators
from fullstory_async.errors import ConfigurationError
from fullstory_async.sandbox.faults.exchange import Exchange
from fullstory_async.sandbox.faults.registry import Fault

__all__ = ["FaultRule"]


def _a_share(_: object, __: object, value: object) -> None:
    if not (validators.is_number(value) and 0 <= value <= 1):  # type: ignore[operator]  # a number by then
        raise ConfigurationError(f"share must be a number from 0 to 1, not {value!r}")


@attrs.define(kw_only=True)
class FaultRule:
    """When a fault applies: every condition must hold. Raises `ConfigurationError` for one that makes no sense.

    The n-th fitting request alone is ``skip=n - 1, times=1``.
    """

    fault: Fault = attrs.field(validator=validators.instance_of(Fault))
    operation: str | None = None
    """Only this operation; ``None`` for all."""
    session_id: str | None = None
    """Only this session; ``None`` for all."""
    times: int | None = attrs.field(default=1, validator=validators.integer(at_least=1, optional=True))
    """How often at most; ``None`` for always."""
    skip: int = attrs.field(default=0, validator=validators.integer(at_least=0))
    """How many fitting requests are let through first."""
    share: float = attrs.field(default=1.0, validator=_a_share)
    """The probability, from 0 to 1, with which a fitting request is spoiled."""
    seed: int | str = 0
    """Determines which requests that are. Each rule draws for itself, whatever others do."""
    hits: int = attrs.field(default=0, init=False)
    """How often the rule has applied."""
    _rng: random.Random = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def applies(self, exchange: Exchange) -> bool:
        """Tell whether this request is spoiled, and count it."""
        record = exchange.record
        if self.operation not in (None, record.operation) or self.session_id not in (None, record.session_id):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        if self._rng.random() >= self.share:
            return False
        self.hits += 1
        return True
