"""The masks of dropout and zoneout in plain numpy: what the kernels must draw, bit for bit.

Philox4x32-7 after Salmon, Moraes, Dror and Shaw (2011), "Parallel random numbers: as easy as 1, 2,
3": seven rounds on a counter of four words under a key of two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85


def philox(counters: Array, seed: int, rounds: int = 7) -> Array:
    """The words (..., 4) of uint32 counters (..., 4)."""
    x = [counters[..., i].astype(np.uint64) for i in range(4)]
    low = np.uint64(0xFFFFFFFF)
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(rounds):
        p, q = (x[2 * i] * np.uint64(MULTIPLIERS[i]) for i in range(2))
        high_p, high_q = p >> np.uint64(32), q >> np.uint64(32)
        x = [high_q ^ x[1] ^ np.uint64(key[0]), q & low, high_p ^ x[3] ^ np.uint64(key[1]), p & low]
        key = [(key[i] + WEYL[i]) & 0xFFFFFFFF for i in range(2)]
    return np.stack(x, axis=-1).astype(np.uint32)


def words(shape: tuple[int, int, int], seed: int, purpose: int) -> Array:
    """Words (T, N, K) of the counters (k's, t, n, purpose): in blocks of 32, of 8 counters each.

    A block has the first two words of its counters, one counter behind the other, and then the
    last two.
    """
    T, N, K = shape
    blocks = -(-K // 32)
    counters = np.empty((T, N, blocks, 8, 4), np.uint32)
    counters[..., 0] = np.arange(8 * blocks).reshape(blocks, 8)
    counters[..., 1] = np.arange(T)[:, None, None, None]
    counters[..., 2] = np.arange(N)[:, None, None]
    counters[..., 3] = purpose
    pairs = philox(counters, seed).reshape(T, N, blocks, 8, 2, 2)
    return pairs.swapaxes(3, 4).reshape(T, N, 32 * blocks)[..., :K]


def dropout(shape: tuple[int, int], rate: float, seed: int, purpose: int) -> Array:
    """A mask (N, K): 0 with probability `rate`, else 1 / (1 - rate)."""
    bits = words((1, *shape), seed, purpose)[0]
    return np.where(bits < round(rate * 2**32), 0.0, 1 / (1 - rate))


def kept(shape: tuple[int, int, int], rate: float, seed: int, purpose: int) -> Array:
    """Whether a unit keeps its old state, (T, B, H); 16 bits decide, low half of a word first."""
    T, B, H = shape
    each = words((T, B, -(-H // 2)), seed, purpose)
    bits = np.stack([each & 0xFFFF, each >> 16], axis=-1).reshape(T, B, -1)
    return bits[..., :H] < round(rate * 2**16)
