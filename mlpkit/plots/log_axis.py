"""The one rule for logarithmic value axes: of losses, scores and learning rates, in all pictures."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOG_FROM = 30.0  # times the smallest value


def needs_log(parts: Iterable[NDArray[Any]], zeros: bool = False) -> bool:
    """Whether a linear axis would hide small values: all are positive, the largest over 30 times the least.

    Args:
        parts: arrays of values; those that are not finite do not count.
        zeros: whether values of 0 do not count either, since the picture gives them a place of their own.
    """
    values = np.concatenate([*parts, np.zeros(0)])
    values = values[np.isfinite(values)]
    if zeros:
        values = values[values != 0]
    return values.size > 0 and bool(values.min() > 0 and values.max() / LOG_FROM > values.min())
