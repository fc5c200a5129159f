"""The column of a table that says how much each row counts in the loss."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlpkit.config.problems import did_you_mean, spell
from mlpkit.data.column_values import RawColumn
from mlpkit.data.tables import listed
from mlpkit.errors import ConfigError, DataError


def check_weight_column(name: str, names: Sequence[str], targets: Sequence[str], source: str) -> None:
    """Check that a column can hold the weights.

    Args:
        name: the column.
        names: the names of all columns.
        targets: the names of the target columns.
        source: the name of the table in errors.

    Raises:
        ConfigError: there is no such column, or it is a target.
    """
    if name not in names:
        raise ConfigError(
            f"dataset.sample_weight={spell(name)}: {source} has no such column{did_you_mean(name, names)}; "
            f"there is {listed(names)}"
        )
    if name in targets:
        raise ConfigError(
            f"dataset.sample_weight={spell(name)}: it is the target; name a column of weights, or none"
        )


def read_weights(column: RawColumn) -> NDArray[np.float32]:
    """Return the weights (rows,).

    Args:
        column: the column, with the rows that are in a split.

    Raises:
        DataError: a weight is missing, is not a number or is negative, or all are 0.
    """
    weights = read_portion(column)
    if not weights.any():
        raise all_zero(column.name, column.source)
    return weights


def read_portion(column: RawColumn) -> NDArray[np.float32]:
    """Return the weights (rows,) of some of the rows; all of them may be 0.

    Raises:
        DataError: a weight is missing, is not a number or is negative.
    """
    if len(bad := np.flatnonzero(column.missing)):
        raise column.error(int(bad[0]), "no weight; fill it in, such as with 1, or remove the row")
    weights = column.numbers()
    if len(bad := np.flatnonzero(weights < 0)):
        row = int(bad[0])
        raise column.error(row, f"{weights[row]:g} is negative, and a weight is at least 0; correct it")
    return weights.astype(np.float32)


def all_zero(name: str, source: str) -> DataError:
    """Return the error of a column of weights that are all 0."""
    return DataError(
        f"{source}: column {spell(name)}: all weights are 0; name another column, or leave "
        "dataset.sample_weight out"
    )
