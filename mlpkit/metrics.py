"""Scores of a split, computed from sums over its rows.

A split is scored in batches: float64 sums are added over the batches and divided once, so that a smaller
last batch counts by its number of rows. The first entry of `sums` is the sum of the losses.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def add_up(losses: Tensor, statistics: Sequence[Tensor]) -> list[float]:
    """Return the float64 sums of the per-example losses and of each per-example statistic."""
    return [_sum(values).item() for values in (losses, *statistics)]


def _sum(values: Tensor) -> Tensor:
    is_bool = values.dtype == torch.bool  # counting takes half the time of summing
    return torch.count_nonzero(values) if is_bool else values.sum(dtype=torch.float64)


def classification_statistics(predicted: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    """Return (rows,) booleans: whether each predicted label is right."""
    return (predicted == targets,)


def classification_scores(sums: Sequence[float], rows: int) -> dict[str, float]:
    """Return loss and accuracy."""
    return {"loss": sums[0] / rows, "accuracy": sums[1] / rows}


def multilabel_statistics(predicted: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    """Return (rows,) share of right labels, whether all are right, labels found, labels predicted plus true.

    Args:
        predicted: (rows, labels) booleans.
        targets: likewise.
    """
    right = predicted == targets
    found, named = (predicted & targets).sum(1), predicted.sum(1) + targets.sum(1)
    return right.double().mean(1), right.all(1), found, named


def multilabel_scores(sums: Sequence[float], rows: int) -> dict[str, float]:
    """Return loss, accuracy, exact_match and f1_micro.

    Accuracy is the mean over the labels of each one's accuracy, 1 - scikit-learn's hamming_loss; exact_match
    is the share of rows with all labels right, its accuracy_score; f1_micro is its f1_score over all labels.
    """
    loss, right, exact, found, named = sums
    f1 = 2 * found / (named + (named == 0))  # 0 where no label is there or predicted
    return {"loss": loss / rows, "accuracy": right / rows, "exact_match": exact / rows, "f1_micro": f1}


def regression_truth(targets: Tensor, mean: Tensor | None = None) -> Tensor:
    """Return (rows, 2 · targets) in float64: the targets y of a split, then y - ȳ, where ȳ is their mean.

    Σy² - (Σy)² / rows loses the variance of targets far from 0 to rounding; the same formula on y - ȳ keeps
    it. The first row is subtracted before the mean is computed, so that equal targets give exact zeros.

    Args:
        targets: y (rows, targets), all of a split or some of them.
        mean: ȳ (targets,) in float64, where the targets are some of a split; None: it is computed.
    """
    exact = targets.double()
    if mean is not None:
        return torch.cat((exact, exact - mean), dim=1)
    shifted = exact - exact[:1]
    return torch.cat((exact, shifted - shifted.mean(0)), dim=1)


def regression_statistics(predictions: Tensor, truth: Tensor) -> tuple[Tensor, ...]:
    """Return (rows,) absolute error, squared error, y - ȳ and its square, each averaged over the targets.

    Args:
        predictions: (rows, targets), in the targets' own unit.
        truth: the rows of `regression_truth`.
    """
    exact, centred = truth.chunk(2, dim=1)
    errors = predictions.double() - exact
    each = errors.abs(), errors.square(), centred, centred.square()
    if errors.shape[1] == 1:  # no mean needed; it would take as long as a step of a small network
        return tuple(values.squeeze(1) for values in each)
    return tuple(values.mean(1) for values in each)


def regression_scores(sums: Sequence[float], rows: int) -> dict[str, float]:
    """Return loss, R² = 1 - Σ(y - ŷ)² / Σ(y - ȳ)², MAE and RMSE, the last two in the targets' own unit.

    The loss is the training loss, on standardised targets if the model standardises them. If all targets are
    equal, R² is 1 for a perfect fit and 0 otherwise, as in scikit-learn.
    """
    loss, absolute, squared, centred, centred_squared = sums
    spread = centred_squared - centred * centred / rows  # the rows may be only part of the split
    constant = spread <= 1e-14 * centred_squared  # only rounding errors remain
    r2 = constant * (squared == 0) + (1 - constant) * (1 - squared / (spread + constant))
    return {"loss": loss / rows, "r2": r2, "mae": absolute / rows, "rmse": (squared / rows) ** 0.5}
