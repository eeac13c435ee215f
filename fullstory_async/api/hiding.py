"""What the operations were asked stays out of the frames that their errors leave behind.

Error trackers print the variables of every frame that an exception has passed. An operation's own hold its arguments: a prompt, an
e-mail, query parameters. They are no help there: the error names the call, and the caller's frame shows what it gave.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from fullstory_async.errors import FullStoryError
from fullstory_async.privacy import without_frames

__all__ = ["hides_arguments"]

P = ParamSpec("P")
T = TypeVar("T")


def hides_arguments(operation: Callable[P, T]) -> Callable[P, T]:
    """Let the errors of an operation, or its cancellation, begin in the caller's frame and in one of ours that holds nothing."""
    waits: Callable[..., Any] = operation

    @functools.wraps(operation)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return waits(*args, **options)
        except FullStoryError as error:
            bare = without_frames(error)
        finally:
            del args, options
        raise bare

    @functools.wraps(operation)
    async def call_later(*args: Any, **options: Any) -> Any:
        bare: BaseException
        try:
            return await waits(*args, **options)
        except (FullStoryError, asyncio.CancelledError) as error:
            bare = without_frames(error)
        finally:
            del args, options
        raise bare

    return cast("Callable[P, T]", call_later if inspect.iscoroutinefunction(operation) else call)
