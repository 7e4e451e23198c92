"""A random order of a grid's points, computed for each place alone."""

from __future__ import annotations

import hashlib

_ROUNDS = 4


def shuffled(size: int, seed: int, place: int) -> int:
    """Return which of `size` things comes at a place of their order.

    A Feistel network over the smallest even number of bits that holds the size permutes its numbers; it
    is walked until it falls below the size (Black and Rogaway, "Ciphers with
    arbitrary finite domains", 2002), which takes four steps on average at most.

    Args:
        size: how many there are.
        seed: another one gives another order.
        place: 0 for the first.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = place >> half, place & mask
        for turn in range(_ROUNDS):
            digest = hashlib.blake2b(f"{seed}/{size}/{turn}/{right}".encode(), digest_size=8).digest()
            left, right = right, left ^ (int.from_bytes(digest, "big") & mask)
        place = left << half | right
        if place < size:
            return place
