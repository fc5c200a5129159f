"""Scores from sums: what each task adds up over rows, and how the sums become scores.

A split is scored in batches by adding float64 sums and dividing once, so that a ragged last batch
counts by its rows and no more. In `sums` the losses' sum comes first.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def add_up(losses: Tensor, statistics: Sequence[Tensor]) -> list[float]:
    """Return the sums, added in float64, of per-example losses and of each per-example statistic."""
    return [_sum(values).item() for values in (losses, *statistics)]


def _sum(values: Tensor) -> Tensor:
    counted = values.dtype == torch.bool  # which takes half the time
    return torch.count_nonzero(values) if counted else values.sum(dtype=torch.float64)


def classification_statistics(predicted: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    """Return whether each of (rows,) predicted labels is right."""
    return (predicted == targets,)


def classification_scores(sums: Sequence[float], rows: int) -> dict[str, float]:
    """Return loss and accuracy."""
    return {"loss": sums[0] / rows, "accuracy": sums[1] / rows}


def regression_truth(targets: Tensor) -> Tensor:
    """Return (rows, 2 · targets): the targets y of a split, and beside them y - ȳ for its mean ȳ, in float64.

    The spread of targets that are far from 0 is lost in Σy² - (Σy)² / rows, and not in the same of y - ȳ.
    The first row is subtracted before the mean is taken, so that equal targets give exact zeros.
    """
    exact = targets.double()
    shifted = exact - exact[:1]
    return torch.cat((exact, shifted - shifted.mean(0)), dim=1)


def regression_statistics(predictions: Tensor, truth: Tensor) -> tuple[Tensor, ...]:
    """Return absolute and squared error, and y - ȳ and its square, each a mean over the targets.

    Args:
        predictions: (rows, targets), in the targets' own unit.
        truth: of these rows; see `regression_truth`.
    """
    exact, centred = truth.chunk(2, dim=1)
    errors = predictions.double() - exact
    each = errors.abs(), errors.square(), centred, centred.square()
    if errors.shape[1] == 1:  # whose mean is itself, and takes as long as a step of a small network
        return tuple(values.squeeze(1) for values in each)
    return tuple(values.mean(1) for values in each)


def regression_scores(sums: Sequence[float], rows: int) -> dict[str, float]:
    """Return loss, R² = 1 - Σ(y - ŷ)² / Σ(y - ȳ)², MAE and RMSE, the last two in the targets' own unit.

    The loss is the one that is trained, of standardised targets where the model standardises them. R² of
    targets that are all the same is 1 for a perfect fit and 0 otherwise, as in scikit-learn.
    """
    loss, absolute, squared, centred, centred_squared = sums
    spread = centred_squared - centred * centred / rows  # the rows may be a part of the split
    constant = spread <= 1e-14 * centred_squared  # what rounding leaves of equal values
    r2 = constant * (squared == 0) + (1 - constant) * (1 - squared / (spread + constant))
    return {"loss": loss / rows, "r2": r2, "mae": absolute / rows, "rmse": (squared / rows) ** 0.5}
