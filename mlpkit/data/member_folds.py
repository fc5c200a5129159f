"""Folds of the rows that are not for testing: each member of a model is validated on one of its own."""

from dataclasses import replace

import numpy as np
import torch

from mlpkit.data.dataset import Dataset
from mlpkit.data.randomness import generator
from mlpkit.data.table_splits import Order, Rows
from mlpkit.errors import ConfigError

ALL_ROWS = "all"  # the split of a member's dataset with the rows of all folds


def fold_sizes(order: Order, rows: Rows, folds: int) -> tuple[int, ...]:
    """Return the number of rows of each fold; the folds are parts of the rows in their order.

    Args:
        order: the order from which the rows were cut.
        rows: some of its rows, in its order.
        folds: the number of folds.

    Raises:
        ConfigError: a fold would be empty.
    """
    groups = None
    if order.groups is not None:
        of_row = np.zeros(order.rows.max() + 1, np.int64)
        of_row[order.rows] = order.groups
        groups = of_row[rows]
    part = Order(rows, groups)
    sizes = np.diff([part.cut(len(rows) * number / folds) for number in range(folds + 1)])
    if sizes.min() < 1:
        of = "" if groups is None else f" in {len(np.unique(groups)):,} groups"
        raise ConfigError(
            f"dataset.val_folds={folds}: {len(rows):,} rows{of} leave a fold without a row; have fewer"
        )
    return tuple(sizes.tolist())


def of_member(dataset: Dataset, number: int) -> Dataset:
    """Return the dataset of one member: its fold as val, the other folds as train; the table is shared.

    All members have the same number of training rows: that of the one with the largest fold. Others leave
    some out, which are drawn at random. A fold that is smaller than others repeats its rows, so that the val
    splits of all have the same shape; only the first of them count.
    """
    val = dataset.splits["val"]
    sizes, rows = val.folds, torch.arange(len(val.all_inputs))[val.rows]
    fold = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    own, others = rows[fold == number], rows[fold != number]
    order = torch.randperm(len(others), generator=generator(number, "fold"))
    kept = order[: len(rows) - max(sizes)].sort().values
    splits = {
        **dataset.splits,
        "train": replace(val, rows=others[kept], folds=()),
        "val": replace(val, rows=own[torch.arange(max(sizes)) % len(own)], folds=()),
        ALL_ROWS: replace(val, folds=()),
    }
    return replace(dataset, splits=splits)
