"""Pruning: ends trials of a search that are worse than others were at the same epoch."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mlpkit.config.config import Config

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import Trial

NAMES = ("none", "median", "hyperband", "halving")
STARTUP_TRIALS = 5  # median: trials that must be complete before any is pruned
MEDIAN_CHECKS = 10  # median: a trial is checked after every 1/10 of its epochs
ETA = 3  # hyperband: about one in three trials passes a rung
RUNGS = (27, 9, 3)  # hyperband: rungs after 1/27, 1/9 and 1/3 of the epochs

# (trial numbers, epochs done, their best monitored values so far, the losses there) -> indices of the trials
# to prune
Judge = Callable[[Sequence[int], int, Sequence[float], Sequence[float]], list[int]]


def build_pruner(name: str, epochs: int) -> "BasePruner":
    """Return Optuna's pruner of that name.

    Args:
        name: one of `NAMES`; halving is implemented here, so that Optuna's pruner does nothing.
        epochs: epochs of a whole trial.
    """
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    if name == "median":
        return MedianPruner(n_startup_trials=STARTUP_TRIALS)
    if name == "hyperband":
        return HyperbandPruner(min_resource=_first_rung(epochs), max_resource=epochs, reduction_factor=ETA)
    return NopPruner()


def rungs(name: str, epochs: int) -> frozenset[int]:
    """Return the epochs after which a trial of `epochs` epochs may be pruned."""
    if name == "median":
        checked = {math.ceil(epochs * check / MEDIAN_CHECKS) for check in range(1, MEDIAN_CHECKS)}
    elif name == "hyperband":
        checked = {_first_rung(epochs) * RUNGS[0] // part for part in RUNGS}
    elif name == "halving":
        checked = {math.ceil(epochs / 4), math.ceil(epochs / 2)}
    else:
        checked = set()
    return frozenset(epoch for epoch in checked if epoch < epochs)


def make_judge(
    name: str, trials: Mapping[int, "Trial"], configs: Mapping[int, Config], higher_is_better: bool
) -> Judge:
    """Return the function that chooses which trials of a batch to prune.

    It compares the best values so far, since a trial is ranked by its best epoch. Trials that are trained
    one after another, or in groups, are also compared with those that were trained before them.

    Args:
        name: one of `NAMES`.
        trials: Optuna's trials by number.
        configs: their configs by number.
        higher_is_better: the direction of the monitored score.
    """
    epochs_checked = {number: rungs(name, config.trainer.epochs) for number, config in configs.items()}
    # By epoch: (signed value, loss, order) of each trial of the batch that has come so far.
    seen: dict[int, list[tuple[float, float, int]]] = {
        epoch: [] for epochs in epochs_checked.values() for epoch in epochs
    }
    sign = -1.0 if higher_is_better else 1.0

    def judge(
        numbers: Sequence[int], epoch: int, values: Sequence[float], losses: Sequence[float]
    ) -> list[int]:
        if epoch not in seen:
            return []
        checked = [index for index, number in enumerate(numbers) if epoch in epochs_checked[number]]
        for index in checked:
            trials[numbers[index]].report(values[index], epoch)
        if name == "halving":
            first = len(seen[epoch])
            seen[epoch] += [
                (sign * value, loss, first + index)
                for index, (value, loss) in enumerate(zip(values, losses, strict=True))
            ]
            better_half = sorted(seen[epoch])[: math.ceil(len(seen[epoch]) / 2)]
            return [index for index in checked if seen[epoch][first + index] not in better_half]
        return [index for index in checked if trials[numbers[index]].should_prune()]

    return judge


def why_no_pruning(name: str, trials: int, batch: int, epochs: int) -> str | None:
    """Return why a pruner can never prune a trial of a search, or None if it can.

    Args:
        name: one of `NAMES`.
        trials: number of trials in the search.
        batch: number of trials trained at once.
        epochs: epochs of a whole trial.
    """
    if name == "none":
        return None
    if not rungs(name, epochs):
        return f"trainer.epochs={epochs} leaves no epoch after which trials could be compared"
    if min(trials, batch) == 1 and name == "halving":
        return "it compares the trials of a batch, which has one"
    before = (trials - 1) // batch * batch  # trials before the last batch
    if before < STARTUP_TRIALS and name == "median":
        return (
            f"it compares trials with {STARTUP_TRIALS} or more of earlier batches; choose a smaller --batch"
        )
    return "there is one trial" if trials == 1 else None


def _first_rung(epochs: int) -> int:
    return max(1, epochs // RUNGS[0])
