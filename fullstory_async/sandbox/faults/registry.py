"""The `fault` decorator: it makes an async handler a fault of the catalogue, and checks its parameters.

A handler takes the `Exchange`, ``call_next``, and then the fault's own parameters. From its signature and
docstring follow the maker ``Fault.<name>(…)``, its entry in ``--list-faults`` and its notation for
``--fault``. Parameters are checked by their annotations: ``bool``, ``Literal``, and ``Annotated`` with a
`Check` such as `Range`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import (
    Annotated,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs
from aiohttp import web

from fullstory_async import validators
from fullstory_async.errors import ConfigurationError
from fullstory_async.sandbox.faults.exchange import CallNext, Exchange, Handler

__all__ = ["Check", "OneLine", "Range", "Size", "StatusCode", "fault"]

P = ParamSpec("P")
F = TypeVar("F")


class Check(Protocol):
    """Checks one parameter of a fault; stands in its ``Annotated`` type."""

    def check(self, name: str, value: object) -> None:
        """Raise `ConfigurationError` for a value that the fault can't use."""


@attrs.frozen
class Range:
    """Accepts numbers from ``least`` to ``most``, or only integers."""

    least: float
    most: float
    integer: bool = False

    def check(self, name: str, value: Any) -> None:
        """Raise `ConfigurationError` for anything else."""
        # sizes may be floats such as 1e6, which a command line makes easy to write; statuses may not
        right_type = isinstance(value, int) or not self.integer
        if not (validators.is_number(value) and right_type and self.least <= value <= self.most):
            kind, least, most = ("a whole number", str(self.least), str(self.most)) if self.integer else (
                "a number", f"{self.least:g}", f"{self.most:g}"
            )  # fmt: skip
            raise ConfigurationError(f"a fault's {name} must be {kind} from {least} to {most}, not {value!r}")


@attrs.frozen
class OneLine:
    """Accepts strings that an HTTP header can hold."""

    def check(self, name: str, value: object) -> None:
        """Raise `ConfigurationError` for anything else."""
        if not isinstance(value, str) or not value.isprintable():
            raise ConfigurationError(f"a fault's {name} must be a text in one line, not {value!r}")


@attrs.frozen
class _OneOf:
    values: tuple[object, ...]

    def check(self, name: str, value: object) -> None:
        if value not in self.values:
            known = ", ".join(map(repr, self.values))
            raise ConfigurationError(f"a fault's {name} must be one of {known}, not {value!r}")


@attrs.frozen
class _Flag:
    def check(self, name: str, value: object) -> None:
        if not isinstance(value, bool):
            raise ConfigurationError(f"a fault's {name} must be True or False, not {value!r}")


StatusCode = Annotated[int, Range(200, 599, integer=True)]
Size = Annotated[int, Range(0, 2**40)]


def _checks_of(annotation: Any) -> tuple[Check, ...]:
    if annotation is bool:
        return (_Flag(),)
    if get_origin(annotation) is Literal:
        return (_OneOf(get_args(annotation)),)
    return tuple(getattr(annotation, "__metadata__", ()))


class fault(Generic[P]):  # noqa: N801  (a decorator)
    """One fault of the catalogue; as an attribute of `Fault` it is the function that makes that fault.

    Makers keep the handler's parameters for type checkers, IDEs and ``help``, without the first two. With a
    parameter ``charged`` that is true, the work is done, and its activation charged, before the handler runs.
    """

    name: str
    """Its name: ``truncate_body``."""
    call: str
    """Name, parameters and defaults: ``truncate_body(share=0.5, *, framing='length')``."""
    description: str
    """What it does: the first line of the docstring."""
    charged: bool
    """Whether the work is done and charged by default."""

    def __init__(
        self, handler: Callable[Concatenate[Exchange, CallNext, P], Awaitable[web.StreamResponse]]
    ) -> None:
        self._handler: Callable[..., Awaitable[web.StreamResponse]] = inspect.unwrap(handler)
        hints = get_type_hints(self._handler, include_extras=True)
        parameters = list(inspect.signature(self._handler).parameters.values())[2:]
        self._checks = {each.name: _checks_of(hints[each.name]) for each in parameters}
        self.signature = inspect.Signature(parameters, return_annotation="Fault")
        plain = [each.replace(annotation=inspect.Parameter.empty) for each in parameters]
        self.name = self._handler.__name__
        self.call = f"{self.name}{inspect.Signature(plain)}"
        self.description = (inspect.getdoc(self._handler) or "").partition("\n")[0].replace("``", "")
        # a fault without the parameter always changes the normal response, which has been paid for
        self.charged = next((each.default for each in parameters if each.name == "charged"), True)

    def __get__(self, instance: object, owner: Callable[[str, str, Handler], F]) -> Callable[P, F]:
        @functools.wraps(self._handler)
        def make(*args: P.args, **kwargs: P.kwargs) -> F:
            given = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
            return owner(f"{self.name}({', '.join(given)})", self.description, self._bind(*args, **kwargs))

        make.__signature__ = self.signature  # type: ignore[attr-defined]  # as `inspect` documents it
        return make

    def _bind(self, *args: P.args, **kwargs: P.kwargs) -> Handler:
        """Return the handler with its parameters filled in and checked."""
        bound = self.signature.bind(*args, **kwargs)
        # defaults are checked too, which costs little and finds a wrong one in the first test
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            for each in self._checks[name]:
                each.check(name, value)
        work_first = bound.arguments.get("charged", False)

        async def handle(exchange: Exchange, call_next: CallNext) -> web.StreamResponse:
            if work_first:
                await call_next()
            return await self._handler(exchange, call_next, *bound.args, **bound.kwargs)

        return handle
