"""The catalogue: every way in which the sandbox can misbehave, under one name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import ParamSpec

import attrs
from aiohttp import web

from fullstory_async.errors import ConfigurationError
from fullstory_async.sandbox.faults import bodies, connections, contents, refusals
from fullstory_async.sandbox.faults.exchange import Behaviour, Exchange, Proceed

__all__ = ["Fault", "describe"]

P = ParamSpec("P")


def describe(make: Callable[..., object]) -> str:
    """Return what a maker of faults says of them in its first line."""
    return (inspect.getdoc(make) or "").partition("\n")[0].replace("``", "")


def _named(make: Callable[P, Behaviour]) -> staticmethod[P, Fault]:
    """Make faults of a behaviour, called as its maker and described by the first line of the maker's docstring."""
    description = describe(make)

    @functools.wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> Fault:
        if not isinstance(charged := kwargs.get("charged", True), bool):
            raise ConfigurationError(f"a fault's charged must be True or False, not {charged!r}")
        given = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
        return Fault(f"{make.__name__}({', '.join(given)})", description, make(*args, **kwargs))

    made.__signature__ = inspect.signature(make).replace(return_annotation="Fault")  # type: ignore[attr-defined]
    return staticmethod(made)


@attrs.frozen
class Fault:
    """One way to misbehave, for `Sandbox.inject`; each maker below documents its parameters.

    Refusals come before any work, so nothing is charged. All others come after it: the activation is spent.
    Where both happen in life, the parameter ``charged`` chooses. Makers raise `ConfigurationError` for a
    parameter that makes no sense. One of your own::

        async def teapot(exchange, proceed):  # proceed() does the work and returns the right answer
            return exchange.error(418, "teapot", "I'm a teapot")

        sandbox.inject(Fault("teapot", "Be a teapot.", teapot), times=None)
    """

    name: str
    """Which fault it is, parameters included: ``status(503)``."""
    description: str
    """What it does, in one line."""
    behaviour: Behaviour = attrs.field(repr=False, eq=False)
    """What answers the request."""

    def __call__(self, exchange: Exchange, proceed: Proceed) -> Awaitable[web.StreamResponse]:
        """Answer an exchange; ``proceed`` does the normal work."""
        return self.behaviour(exchange, proceed)

    status = _named(refusals.status)
    retry_after = _named(refusals.retry_after)
    retry_after_date = _named(refusals.retry_after_date)
    veto = _named(refusals.veto)
    redirect_to = _named(refusals.redirect_to)
    redirect_loop = _named(refusals.redirect_loop)
    html_error_page = _named(refusals.html_error_page)

    drop = _named(connections.drop)
    reset = _named(connections.reset)
    stall = _named(connections.stall)
    stale_connection = _named(connections.stale_connection)
    garbage_status_line = _named(connections.garbage_status_line)
    huge_header = _named(connections.huge_header)

    truncate_body = _named(bodies.truncate_body)
    stall_body = _named(bodies.stall_body)
    slow_loris = _named(bodies.slow_loris)
    huge_body = _named(bodies.huge_body)
    gzip_bomb = _named(bodies.gzip_bomb)
    bad_gzip = _named(bodies.bad_gzip)
    unknown_encoding = _named(bodies.unknown_encoding)

    empty_body = _named(contents.empty_body)
    invalid_json = _named(contents.invalid_json)
    invalid_utf8 = _named(contents.invalid_utf8)
    lone_surrogate = _named(contents.lone_surrogate)
    byte_order_mark = _named(contents.byte_order_mark)
    not_a_number = _named(contents.not_a_number)
    huge_integer = _named(contents.huge_integer)
    deep_json = _named(contents.deep_json)
    wrong_shape = _named(contents.wrong_shape)
    unknown_keys = _named(contents.unknown_keys)
    wrong_content_type = _named(contents.wrong_content_type)
