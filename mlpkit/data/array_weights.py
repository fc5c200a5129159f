"""The array that says how much each row counts in the loss."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlpkit.config.section import FLOAT32_MAX
from mlpkit.data.array_values import Named
from mlpkit.data.arrays import check_numbers
from mlpkit.errors import DataError


def read_array_weights(parts: Sequence[Named]) -> NDArray[np.float32]:
    """Concatenate the weights of all splits, (rows,).

    Args:
        parts: the array of each split, with one number for each row.

    Raises:
        DataError: a weight is not a finite number or is negative, or all are 0.
    """
    for array, source in parts:
        check_numbers(array, source)
        weights = array.astype(np.float64)
        if len(bad := np.flatnonzero(~((weights >= 0) & (weights <= FLOAT32_MAX)))):
            row = int(bad[0])
            raise DataError(
                f"{source}: row {row + 1}: {weights[row]:g}: a weight must be a finite number of at least 0; "
                "correct it"
            )
    found = np.concatenate([array for array, _ in parts]).astype(np.float32)
    if not found.any():
        raise DataError(
            f"{parts[0][1]}: all weights are 0; name another array, or leave dataset.sample_weight out"
        )
    return found
