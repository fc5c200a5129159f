"""Which trials of a search end before their time: those that do worse than others did at the same epoch."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mlpkit.config import Config

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import Trial

NAMES = ("none", "median", "hyperband", "halving")
LOOKS = 10  # times that the median pruner looks at a trial
ETA = 3  # of hyperband: about one in so many trials passes a rung
RUNGS = (27, 9, 3)  # of hyperband: they lie at these parts of all epochs

# (numbers of trials, epochs done, their best monitored values so far, the losses there) -> the places of
# those that leave
Judge = Callable[[Sequence[int], int, Sequence[float], Sequence[float]], list[int]]


def build_pruner(name: str, epochs: int) -> "BasePruner":
    """Return Optuna's pruner of that name.

    Args:
        name: one of `NAMES`; the rule of halving is our own, and Optuna has nothing to say.
        epochs: of a whole trial.
    """
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    if name == "median":
        return MedianPruner()
    if name == "hyperband":
        return HyperbandPruner(min_resource=_first_rung(epochs), max_resource=epochs, reduction_factor=ETA)
    return NopPruner()


def rungs(name: str, epochs: int) -> frozenset[int]:
    """Return the epochs after which trials of so many are looked at."""
    if name == "median":
        found = {math.ceil(epochs * look / LOOKS) for look in range(1, LOOKS)}
    elif name == "hyperband":
        found = {_first_rung(epochs) * RUNGS[0] // part for part in RUNGS}
    elif name == "halving":
        found = {math.ceil(epochs / 4), math.ceil(epochs / 2)}
    else:
        found = set()
    return frozenset(epoch for epoch in found if epoch < epochs)


def make_judge(
    name: str, trials: Mapping[int, "Trial"], configs: Mapping[int, Config], higher_is_better: bool
) -> Judge:
    """Return who decides which trials leave.

    What is compared are the best values so far, since the best epoch is what a trial is worth in the end.

    Args:
        name: one of `NAMES`.
        trials: as Optuna knows them, by their numbers.
        configs: of each.
        higher_is_better: the monitored score's direction.
    """
    looks = {number: rungs(name, config.trainer.epochs) for number, config in configs.items()}

    def judge(
        numbers: Sequence[int], epoch: int, values: Sequence[float], losses: Sequence[float]
    ) -> list[int]:
        looked_at = [place for place, number in enumerate(numbers) if epoch in looks[number]]
        for place in looked_at:
            trials[numbers[place]].report(values[place], epoch)
        if name == "halving":
            sign = -1.0 if higher_is_better else 1.0
            ranked = sorted(looked_at, key=lambda place: (sign * values[place], losses[place], place))
            return sorted(ranked[math.ceil(len(ranked) / 2) :])
        return [place for place in looked_at if trials[numbers[place]].should_prune()]

    return judge


def _first_rung(epochs: int) -> int:
    return max(1, epochs // RUNGS[0])
