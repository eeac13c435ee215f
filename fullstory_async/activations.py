"""Activations: how many are spent, at risk and reserved, in the same words everywhere."""

from __future__ import annotations

import attrs

__all__ = ["Activations"]


@attrs.frozen
class Activations:
    """Numbers of activations. Budgets are compared with ``spent`` and ``reserved`` together."""

    spent: int
    """Charged, or possibly charged."""
    at_risk: int = 0
    """Spent, but possibly not charged: of attempts that failed, or whose response could not be saved."""
    reserved: int = 0
    """Held for calls in flight, and not spent yet."""

    def settled(self) -> Activations:
        """Return the numbers when no process makes calls any more: a reserved one was possibly charged."""
        return Activations(self.spent + self.reserved, self.at_risk + self.reserved)

    def __str__(self) -> str:
        noun = "activation" if self.spent == 1 else "activations"
        at_risk = f", {self.at_risk:,} of them at risk" if self.at_risk else ""
        if self.spent == self.at_risk == 1:
            at_risk = " and at risk"
        reserved = f", {self.reserved:,} reserved" if self.reserved else ""
        return f"{self.spent:,} {noun} spent{at_risk}{reserved}"
