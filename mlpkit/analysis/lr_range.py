"""The result of `mlpkit lr`: the losses of short runs at many learning rates, and the stable range."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Losses = Mapping[float, Sequence[float | None]]  # of each seed by lr; None if the run has diverged


@dataclass(frozen=True)
class LrRange:
    """The losses by learning rate, the stable range and the suggested learning rate.

    A learning rate is stable if no seed diverges or ends above the untrained loss.

    Attributes:
        losses: the last loss of each seed by learning rate, ascending; None if it has diverged.
        untrained: the loss before training.
        stable: the lowest and the highest of the stable learning rates around the suggested one, without a
            gap; None if none is stable.
        suggested: the stable learning rate whose worst seed has the lowest loss; None if none is stable.
    """

    losses: Losses
    untrained: float
    stable: tuple[float, float] | None
    suggested: float | None


def judge(losses: Losses, untrained: float) -> LrRange:
    """Return the stable range and the suggested learning rate.

    Args:
        losses: see `LrRange`.
        untrained: see `LrRange`.
    """
    lrs = sorted(losses)
    ordered = {lr: losses[lr] for lr in lrs}
    worst: dict[float, float] = {}  # the highest loss at each stable learning rate
    for lr, (_, _, highest) in spreads(ordered).items():
        if None not in losses[lr] and highest <= untrained:
            worst[lr] = highest
    if not worst:
        return LrRange(ordered, untrained, None, None)
    suggested = min(worst, key=worst.__getitem__)
    first = last = lrs.index(suggested)
    while first > 0 and lrs[first - 1] in worst:
        first -= 1
    while last + 1 < len(lrs) and lrs[last + 1] in worst:
        last += 1
    return LrRange(ordered, untrained, (lrs[first], lrs[last]), suggested)


def spreads(losses: Losses) -> dict[float, tuple[float, float, float]]:
    """Return the lowest, the median and the highest loss by learning rate; diverged seeds do not count.

    Learning rates at which all seeds diverged are left out.
    """
    finite = {lr: [loss for loss in of_seeds if loss is not None] for lr, of_seeds in losses.items()}
    return {lr: (min(each), statistics.median(each), max(each)) for lr, each in finite.items() if each}
