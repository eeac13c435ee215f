"""Random damage, and for how long: a few rounds of the same damage in a usual run, else as many as ``FULLSTORY_FUZZ_SECONDS`` allow."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

TOKENS = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"-", b"0", b"9" * 30, b"1e999", b"NaN", b"\\ud800", b"\xff", b"\xef\xbb\xbf", b"\x00", b"\n",
    b'"events":[', b'{"event_type":', b'{"type":', b"},{", b'"event_properties":{}', b'"data":[]', b'"timestamp":"2026-05-04"', b"[" * 300, b'"llm":{}', b'"summary":',
]  # fmt: skip


class Seeded(random.Random):
    """Random numbers that tell their seed where a failing test prints its variables."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.first = seed

    def __repr__(self) -> str:
        return f"Seeded({self.first})"


def rounds(few: int) -> Iterator[random.Random]:
    """Give a source of random numbers for each round."""
    seconds = float(os.environ.get("FULLSTORY_FUZZ_SECONDS", "0"))
    first = time.time_ns() if seconds else 0
    end, count = time.monotonic() + seconds, 0
    while count < few or time.monotonic() < end:
        yield Seeded(first + count)
        count += 1


def damaged(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Return JSON with one to four changes: of a bit, a token, a piece that is lost, doubled, or another document's."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        data = _damaged_once(data, rng, rng.choice(others))
    return data


def _damaged_once(data: bytes, rng: random.Random, other: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 2, 5, 20, 100)))
    start = rng.randrange(len(other))
    flipped = bytes([data[at] ^ (1 << rng.randrange(8))]) if at < len(data) else b""
    token = rng.choice(TOKENS)
    return data[:at] + rng.choice((
        flipped + data[at + 1 :], token + data[at:], token + data[end:], data[end:], data[at:end] + data[at:],
        other[start : start + rng.randrange(60)] + data[at:], b"",
    ))  # fmt: skip


def damage(data: bytearray, rng: random.Random) -> None:
    """Damage a file's content where it is: flipped bits, a zeroed or repeated piece, a lost end."""
    kind = rng.randrange(8)
    if kind < 5:
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 5:
        start = rng.randrange(len(data))
        end = min(len(data), start + rng.choice((16, 512, 4096)))
        data[start:end] = bytes(end - start)
    elif kind == 6:
        one, other = (4096 * rng.randrange(max(1, len(data) // 4096)) for _ in range(2))
        data[one : one + 4096] = data[other : other + 4096]
    else:
        del data[rng.randrange(len(data)) :]
