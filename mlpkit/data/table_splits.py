"""Splits the rows of a table into train, val and test: at random, stratified, by group, time or a column.

First the rows are ordered, for example shuffled, or sorted by time. Then the order is cut into train, val and
test. The rows of a group are next to each other in the order, and are never cut apart. For fold i, the i-th
part of the order is moved to the end, where the test rows are.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mlpkit.config.problems import show
from mlpkit.data.column_values import RawColumn
from mlpkit.data.dataset import SPLIT_OF_WORD, SPLITS
from mlpkit.data.random_split import interleave_classes
from mlpkit.data.randomness import generator
from mlpkit.errors import ConfigError

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """Rows in the order in which they are cut.

    Attributes:
        rows: row indices.
        groups: the group of each row; None: a cut is allowed anywhere.
    """

    rows: Rows
    groups: Rows | None = None

    def cut(self, at: float) -> int:
        """Return the allowed cut that is nearest to a position."""
        if self.groups is None:
            return round(at)
        starts = np.flatnonzero(np.diff(self.groups, prepend=-1))
        places = np.append(starts, len(self.rows))
        return int(places[np.abs(places - at).argmin()])

    def rotated(self, start: int, end: int) -> "Order":
        """Return the order with the part from start to end at its end."""
        places = np.concatenate((np.arange(end, len(self.rows)), np.arange(end)))
        groups = None if self.groups is None else self.groups[places]
        return Order(self.rows[places], groups) if start < end else self


def random_order(rows: Rows, seed: int) -> Order:
    """Return rows in a random order."""
    return Order(rows[torch.randperm(len(rows), generator=generator(seed, "split")).numpy()])


def stratified_order(rows: Rows, labels: NDArray[np.int64], seed: int) -> Order:
    """Return rows in a random order in which any contiguous part has about the same class proportions."""
    shuffled = torch.from_numpy(random_order(rows, seed).rows)
    return Order(interleave_classes(shuffled, torch.from_numpy(labels)).numpy())


def group_order(rows: Rows, column: RawColumn, seed: int) -> Order:
    """Return rows with equal values next to each other, the groups in a random order."""
    _require(column, rows)
    codes, words = column.texts()
    drawn = torch.randperm(len(words), generator=generator(seed, "split")).numpy()[codes[rows]]
    order = np.argsort(drawn, kind="stable")
    return Order(rows[order], drawn[order])


def time_order(rows: Rows, column: RawColumn) -> Order:
    """Return rows from the earliest to the latest; rows of the same time stay together."""
    _require(column, rows)
    is_date = column.are_dates()
    times = column.dates(None).astype(np.int64) if is_date else column.numbers()
    order = np.argsort(times[rows], kind="stable")
    _, codes = np.unique(times[rows][order], return_inverse=True)
    return Order(rows[order], codes)


def split_by_column(rows: Rows, column: RawColumn) -> dict[str, Rows]:
    """Split rows by a column that names their split: train, val or test.

    Raises:
        DataError: a value names no split.
    """
    _require(column, rows)
    codes, words = column.texts()
    meant = [SPLIT_OF_WORD.get(word.lower(), "") for word in words]
    splits = np.array([*meant, ""])[codes]
    if len(bad := rows[splits[rows] == ""]):
        word = words[codes[bad[0]]]
        raise column.error(int(bad[0]), f"{show(word)} is not a split; write train, val or test")
    return {name: part for name in SPLITS if len(part := rows[splits[rows] == name])}


def cut(
    order: Order, val_fraction: float, test_fraction: float, fold: tuple[int, int] | None = None
) -> dict[str, Rows]:
    """Return the rows of each split that has any.

    Args:
        order: the order of the rows.
        val_fraction: fraction of the rows for validation.
        test_fraction: fraction of the rows for testing; ignored with a fold.
        fold: the index of the fold that tests, and the number of folds.

    Raises:
        ConfigError: a requested split would be empty.
    """
    rows = len(order.rows)
    test = test_fraction * rows
    if fold is not None:
        number, folds = fold
        start, end = (order.cut(rows * part / folds) for part in (number, number + 1))
        order, test = order.rotated(start, end), end - start
        test_fraction = 1.0
    ends = [rows - round(test) - round(val_fraction * rows), rows - round(test), rows]
    ends = [order.cut(max(0, end)) for end in ends]
    starts = [0, *ends[:-1]]
    parts = {name: order.rows[start:end] for name, start, end in zip(SPLITS, starts, ends, strict=True)}
    fractions = {"train": 1.0, "val": val_fraction, "test": test_fraction}
    for name, part in parts.items():
        if len(part) < 1 and fractions[name] > 0:
            groups = "" if order.groups is None else f" in {len(np.unique(order.groups)):,} groups or times"
            asked = f"dataset.folds={fold[1]}" if fold else f"test_fraction={test_fraction}"
            raise ConfigError(
                f"dataset: val_fraction={val_fraction} and {asked} of {rows:,} rows{groups} leave no row to "
                f"{name}; change the fractions or have more rows"
            )
    return {name: part for name, part in parts.items() if len(part)}


def _require(column: RawColumn, rows: Rows) -> None:
    if len(bad := rows[column.missing[rows]]):
        raise column.error(int(bad[0]), "no value, and dataset.split needs one; fill it in or remove the row")
