"""What the sandbox's web server logs: of a request that isn't HTTP, one line without what it holds.

aiohttp logs it with a traceback and the rejected line, which may be the header with an API key.
"""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError

__all__ = ["request_logger"]


def request_logger() -> logging.Logger:
    """Return the logger for the web server."""
    logger = logging.getLogger("fullstory_async.sandbox")
    logger.addFilter(_without_content)  # the same function each time, which is added once
    return logger


def _without_content(record: logging.LogRecord) -> bool:
    raised = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if isinstance(raised, HttpProcessingError):
        record.msg, record.exc_info = f"{record.msg}: it is not valid HTTP ({type(raised).__name__})", None
    return True
