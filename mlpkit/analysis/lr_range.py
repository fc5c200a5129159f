"""The result of `mlpkit lr`: the loss after short runs at many learning rates, and what it says."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Losses = Mapping[float, Sequence[float | None]]  # of each seed by lr; None if the run has diverged


@dataclass(frozen=True)
class LrRange:
    """The losses by learning rate, the stable rates and the suggested one.

    Attributes:
        losses: the last loss of each seed by learning rate, ascending; None if it has diverged.
        untrained: the loss at the start, that of the weights as they are drawn.
        stable: the lowest and the highest of the neighbouring rates around the suggested one at which no
            seed diverges or ends above the untrained loss; None if there is no such rate.
        suggested: the stable rate whose worst seed has the lowest loss.
    """

    losses: Losses
    untrained: float
    stable: tuple[float, float] | None
    suggested: float | None


def judge(losses: Losses, untrained: float) -> LrRange:
    """Return the stable range and the suggested rate.

    Args:
        losses: see `LrRange`.
        untrained: see `LrRange`.
    """
    rates = sorted(losses)
    ordered = {lr: losses[lr] for lr in rates}
    worst = {
        lr: highest for lr in rates if (highest := _worst(losses[lr])) is not None and highest <= untrained
    }
    if not worst:
        return LrRange(ordered, untrained, None, None)
    suggested = min(worst, key=worst.__getitem__)
    first = last = rates.index(suggested)
    while first > 0 and rates[first - 1] in worst:
        first -= 1
    while last + 1 < len(rates) and rates[last + 1] in worst:
        last += 1
    return LrRange(ordered, untrained, (rates[first], rates[last]), suggested)


def _worst(losses: Sequence[float | None]) -> float | None:
    """Return the highest loss; None if a seed has diverged."""
    finite = [loss for loss in losses if loss is not None]
    return max(finite) if len(finite) == len(losses) else None


def median(losses: Sequence[float | None]) -> float | None:
    """Return the median loss of the seeds that have not diverged; None if all have."""
    finite = [loss for loss in losses if loss is not None]
    return statistics.median(finite) if finite else None
