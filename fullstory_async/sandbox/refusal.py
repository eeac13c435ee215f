"""Refusal: what the sandbox answers instead of working."""

from __future__ import annotations

__all__ = ["Refusal"]


class Refusal(Exception):
    """An error answer: status, snake-case code, message, and seconds to wait."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after
