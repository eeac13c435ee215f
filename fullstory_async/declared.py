"""Declared: an attribute that each instance sets, and that doubles made from the class know."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, overload

__all__ = ["Declared"]

T = TypeVar("T")


class Declared(Generic[T]):
    """Declares an instance's attribute and its class.

    A bare annotation is invisible to `unittest.mock`: ``create_autospec(FullStoryClient).sessions`` would
    raise `AttributeError`. On the class, this one is the attribute's class, whose methods a double gets.
    """

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> type[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: Any, owner: type) -> Any:
        # an instance's own attribute comes first, so that only one whose construction failed gets here
        if instance is None:
            return self._kind
        raise AttributeError(f"this {owner.__name__} has no {self._name} yet", name=self._name, obj=instance)
