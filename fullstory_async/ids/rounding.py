"""Rounding and cutting: whether a collection of ids lost digits in another program.

Ids have up to 19 digits. Spreadsheets keep 15 of them, and JavaScript, jq and floating-point columns 15 to
17. The rounded ids look like ids, but belong to no session or to another one. A single id can look rounded by
chance; the checks here give the chance for all ids together.
"""

from __future__ import annotations

import math
import re

from fullstory_async.errors import ConfigurationError

__all__ = ["LossCheck", "LostDigits"]

_LARGEST_EXACT = 2**53
_CERTAIN = 1e-6
"""Chance below which a coincidence is ruled out."""
_MIN_HALVES = 4
"""Halves that must agree before their divisibility counts."""
_SUSPICIOUS_ZEROS = 4
_MIN_DIGITS_OF_DEVICE = 15
_MAX_COUNTED = 1000
"""Distinct ids that are counted, so that memory stays flat."""
_TAIL = 400
"""Terms of a sum after which the rest is far below a float's precision."""
_PAIR = re.compile(r"(-?[0-9]+):(-?[0-9]+)")
_HELP = (
    "Spreadsheets (15 digits), JavaScript, jq and floating-point columns of pandas round ids: export the ids "
    "as text, such as the replay URL, or with dtype=str"
)


class LostDigits(ConfigurationError):
    """The ids look rounded or cut off, all of them together."""


class LossCheck:
    """Counts the signs of lost digits over all ids, and decides when they can't be chance."""

    __slots__ = (
        "_cut", "_ids", "_last", "_log_aligned", "_log_cut", "_misaligned", "_numbers", "_seen", "_zeros",
    )  # fmt: skip

    def __init__(self, *, distinct: bool = False) -> None:
        """Start without ids.

        Args:
            distinct: whether the caller adds each id once; otherwise the first 1000 distinct ids count.
        """
        self._seen: set[str] | None = None if distinct else set()
        self._ids = self._numbers = self._zeros = 0
        self._misaligned = False
        self._log_aligned = self._log_cut = 0.0
        self._cut: bool | None = None
        self._last = ""

    @property
    def warning(self) -> str:
        """A warning about an id that looks rounded, where the whole does not; empty without one."""
        if not self._last:
            return ""
        return f"the id {self._last} ends in zeros, as if it was rounded. {_HELP}"

    def add(self, pair: str) -> None:
        """Count an id; ids that are not pairs of numbers say nothing."""
        match = _PAIR.fullmatch(pair)
        if match is None or not self._is_new(pair):
            return
        large = [half for half in map(abs, map(int, match.groups())) if half > _LARGEST_EXACT]
        self._ids += bool(large)
        for half in large:
            zeros = _trailing_zeros(half)
            self._numbers, self._zeros = self._numbers + 1, self._zeros + zeros
            spacing = 1 << (half.bit_length() - 53)
            self._log_aligned -= math.log(spacing)
            self._misaligned = self._misaligned or half % spacing != 0
            if zeros >= _SUSPICIOUS_ZEROS:
                self._last = pair

    def add_link(self, pair: str, *, ends_text: bool) -> None:
        """Count the id of a replay URL, which may have been cut if it ends its text."""
        match = _PAIR.fullmatch(pair)
        if match is None or (self._seen is not None and pair in self._seen):
            return
        device, session = (len(half.lstrip("-")) for half in match.groups())
        is_short = ends_text and device >= _MIN_DIGITS_OF_DEVICE and session < device
        self._cut = is_short and self._cut is not False
        if is_short:
            self._log_cut -= math.log(10) * (device - session)

    def _is_new(self, pair: str) -> bool:
        if self._seen is None:
            return True
        if pair in self._seen or len(self._seen) >= _MAX_COUNTED:
            return False
        self._seen.add(pair)
        return True

    def find(self) -> str:
        """Return what was lost, as a sentence; empty if nothing surely was."""
        log_certain = math.log(_CERTAIN)
        # one id alone is only suspicious
        if self._ids > 1 and _chance_of_zeros(self._numbers, self._zeros) < _CERTAIN:
            return f"the ids were rounded: their {self._numbers} halves end in {self._zeros} zeros. {_HELP}"
        aligned = not self._misaligned and self._log_aligned < log_certain
        if self._numbers >= _MIN_HALVES and aligned:
            return f"the ids were rounded: all of their halves are floating-point numbers. {_HELP}"
        if self._cut and self._log_cut < log_certain:
            return (
                "the replay URLs were cut off: their second halves are too short. Export them at full width"
            )
        return ""

    def require(self) -> None:
        """Raise `LostDigits` if digits were surely lost."""
        if loss := self.find():
            raise LostDigits(loss)

    @staticmethod
    def rounded(text: str, where: str) -> ConfigurationError:
        """Return the error for an id with an exponent or a fraction."""
        return ConfigurationError(f"the id in {where} was rounded: {text[:60]!a}. {_HELP}")


def _trailing_zeros(number: int) -> int:
    text = str(number)
    return len(text) - len(text.rstrip("0"))


def _chance_of_zeros(numbers: int, zeros: int) -> float:
    """Return the chance that this many random numbers end in at least this many zeros together."""
    if zeros <= numbers / 9:  # the expectation
        return 1.0
    # the negative binomial distribution, with a chance of 0.1 for each further zero
    first = math.lgamma(numbers) - numbers * math.log(0.9)
    terms = (
        math.exp(math.lgamma(k + numbers) - math.lgamma(k + 1) - first + k * math.log(0.1))
        for k in range(zeros, zeros + _TAIL)
    )
    return math.fsum(terms)
