"""Page and Pager: await the first page, iterate over all items, resume from a token.

The pager knows only a function ``fetch(token) -> Page``. The token alone decides when to stop: an empty page
with a token continues, a token of ``None`` or ``""`` stops, and a token that repeats is an error, because
following it would never end.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Sequence,
)
from contextlib import aclosing
from typing import Any, Generic, NoReturn, TypeVar, overload

import attrs

from fullstory_async.amounts import counted
from fullstory_async.errors import PaginationError
from fullstory_async.json_ready import JsonReady
from fullstory_async.notebook_html import table
from fullstory_async.response_info import HasResponseInfo

__all__ = ["Page", "Pager"]

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Page(HasResponseInfo, JsonReady, Sequence[T]):
    """One page of a list: a sequence of its items."""

    items: tuple[T, ...] = ()
    """The items of this page."""

    next_token: str | None = None
    """The token of the next page, for `Pager.pages`; ``None`` on the last page."""

    received: int | None = attrs.field(default=None, repr=False, eq=False)
    """Number of entries in the response, including those that were left out of `items`."""

    raw: bytes = attrs.field(default=b"", repr=False, eq=False)
    """The response body, unchanged."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def _repr_html_(self) -> str:
        """Return a table for notebooks: the fields that an item's repr has."""
        caption = f"Page with {counted(len(self), 'item')}{', not the last one' if self.next_token else ''}"
        kinds: set[Any] = {type(item) for item in self}
        if len(kinds) == 1 and attrs.has(kind := kinds.pop()):
            names = [field.name for field in attrs.fields(kind) if field.repr]
            return table(
                caption, names, ([getattr(item, name) for name in names] for item in self), len(self)
            )
        return table(caption, ["item"], ([repr(item)] for item in self), len(self))


class Pager(Coroutine[Any, Any, Page[T]], Generic[T]):
    """A list that has not been fetched yet.

    ``await pager`` returns the first `Page`; ``async for item in pager`` yields every item up to the limit;
    ``async for page in pager.pages(token)`` yields pages, starting where an earlier run stopped.
    Each use fetches again, and each request passes the rate limiter. A pager is also a coroutine for the
    first page, so that ``asyncio.create_task(pager)`` and ``TaskGroup.create_task(pager)`` take it.
    """

    __slots__ = ("_fetch", "_limit", "_steps")

    def __init__(
        self, fetch: Callable[[str | None], Awaitable[Page[T]]], *, limit: int | None = None
    ) -> None:
        """Wrap a fetch function; iteration yields at most ``limit`` items."""
        self._fetch = fetch
        self._limit = limit
        self._steps: dict[asyncio.Task[Any] | None, Coroutine[Any, Any, Page[T]]] = {}
        """The fetch of each task that was made of this pager."""

    def __await__(self) -> Generator[Any, None, Page[T]]:
        return self._first().__await__()

    def send(self, value: Any, /) -> Any:
        """Resume the fetch of the first page, as the event loop does for a task."""
        return self._step("send", value)

    def throw(self, *error: Any) -> Any:
        """Raise an error where the fetch of the first page waits, as the event loop does for a task."""
        return self._step("throw", *error)

    def close(self) -> None:
        """End the fetch of the current task, if it has begun."""
        if (fetch := self._steps.pop(asyncio.current_task(), None)) is not None:
            fetch.close()

    def _step(self, method: str, *arguments: Any) -> Any:
        task = asyncio.current_task()
        fetch = self._steps.get(task) or self._steps.setdefault(task, self._first())
        try:
            return getattr(fetch, method)(*arguments)
        except BaseException:
            # it is over, with the page in a StopIteration: the next task fetches again
            del self._steps[task]
            raise

    async def _first(self) -> Page[T]:
        return await self._fetch(None)

    async def pages(self, token: str | None = None) -> AsyncGenerator[Page[T], None]:
        """Yield pages, from the first one or from a page's ``next_token``.

        Raises:
            PaginationError: the server sent the same token twice.
            FullStoryError: a request failed.
        """
        seen = {token} if token else set()
        while True:
            page = await self._fetch(token)
            yield page
            token = page.next_token
            if not token:
                return
            if token in seen:
                raise PaginationError("the server sent the same page token twice; stopped after its page")
            seen.add(token)

    async def __aiter__(self) -> AsyncIterator[T]:
        remaining = self._limit
        # aclosing: breaking out of the loop must close the generator now, not when it is garbage collected
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for item in page.items[:remaining]:
                    yield item
                if remaining is not None:
                    remaining -= len(page.items[:remaining])
                    # before the next page is fetched, which would be a needless request
                    if remaining == 0:
                        return

    def __iter__(self) -> NoReturn:
        raise TypeError("a Pager is asynchronous: use 'async for', or 'await' it for the first page")
