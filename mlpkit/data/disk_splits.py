"""Splits the rows of a table on the disk, in little memory: each row's split and place are computed."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from mlpkit.config.problems import plural
from mlpkit.data.dataset import SPLITS
from mlpkit.data.permutation import Permutation
from mlpkit.errors import ConfigError

Rows = NDArray[np.int64]


class DrawnSplits:
    """Gives each of some rows a split and a place in it, by a permutation of all of them.

    Attributes:
        parts: the places of each split among all places.
    """

    def __init__(self, parts: Mapping[str, range], seed: int, purpose: str = "split") -> None:
        """Draw the permutation.

        Args:
            parts: the places of each split, from 0 on without a gap.
            seed: the seed.
            purpose: of the permutation; see `Permutation`.
        """
        self.parts = dict(parts)
        self._permuted = Permutation(max(part.stop for part in parts.values()), seed, purpose)

    def of(self, rows: Rows) -> Iterator[tuple[str, Rows, Rows]]:
        """Yield for each split which of some rows are in it, and their places in it.

        Args:
            rows: numbers of rows, counted from 0 among those that are split.
        """
        places = self._permuted(rows)
        for name, part in self.parts.items():
            own = np.flatnonzero((places >= part.start) & (places < part.stop))
            if len(own):
                yield name, own, places[own] - part.start


def random_parts(rows: int, val_fraction: float, test_fraction: float) -> dict[str, range]:
    """Return the places of train, val and test among all places; of those that have any.

    Raises:
        ConfigError: a split that is asked for would be empty.
    """
    fractions = {"train": 1.0, "val": val_fraction, "test": test_fraction}
    sizes = {name: round(rows * fraction) for name, fraction in fractions.items()}
    sizes["train"] = rows - sizes["val"] - sizes["test"]
    parts, start = {}, 0
    for name in SPLITS:
        if sizes[name] < 1 and fractions[name] > 0:
            raise ConfigError(
                f"dataset: val_fraction={val_fraction} and test_fraction={test_fraction} of "
                f"{plural(rows, 'row')} leave no row to {name}; change the fractions or have more rows"
            )
        if sizes[name]:
            parts[name] = range(start, start + sizes[name])
            start += sizes[name]
    return parts
