"""A random permutation of any number of rows that needs no memory: each place is computed from its row.

The bits of a row's number go through rounds of steps that can each be undone: a product with an odd number,
a sum, and a shift that is added bitwise. So different numbers stay different. Results that are too large go
through once more (cycle walking; Black and Rogaway 2002), which is still one-to-one.
"""

import numpy as np
from numpy.typing import NDArray

from mlpkit.data.randomness import derived_seed

ROUNDS = 4
FEWEST_BITS = 8  # rounds mix a few bits badly

Numbers = NDArray[np.uint64]


class Permutation:
    """A permutation of the numbers 0, …, size - 1, drawn by a seed."""

    def __init__(self, size: int, seed: int, purpose: str) -> None:
        """Draw the numbers of the rounds.

        Args:
            size: how many numbers are permuted.
            seed: the seed.
            purpose: what the permutation is for; others are independent of it.
        """
        self.size = size
        bits = max(FEWEST_BITS, (size - 1).bit_length())
        self._mask, self._half = np.uint64((1 << bits) - 1), np.uint64((bits + 1) // 2)
        drawn = [derived_seed(seed, purpose, number) for number in range(2 * ROUNDS)]
        self._factors = [np.uint64(number | 1) for number in drawn[:ROUNDS]]
        self._terms = [np.uint64(number) for number in drawn[ROUNDS:]]

    def __call__(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the place of each of some numbers."""
        found = self._mixed(numbers.astype(np.uint64))
        while len(outside := np.flatnonzero(found >= self.size)):
            found[outside] = self._mixed(found[outside])
        return found.astype(np.int64)

    def _mixed(self, numbers: Numbers) -> Numbers:
        for factor, term in zip(self._factors, self._terms, strict=True):
            numbers = (numbers * factor + term) & self._mask
            numbers ^= numbers >> self._half
        return numbers
