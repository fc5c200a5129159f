"""Which trials of a search end before their time: those that do worse than others did at the same epoch."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mlpkit.config.config import Config

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import Trial

NAMES = ("none", "median", "hyperband", "halving")
STARTUP = 5  # trials that the median is taken of, at least
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
        return MedianPruner(n_startup_trials=STARTUP)
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
    """Return who decides which trials of a batch leave.

    What is compared are the best values so far, since the best epoch is what a trial is worth in the end.
    Trials that are trained one after another, or in groups, are compared with those before them too.

    Args:
        name: one of `NAMES`.
        trials: as Optuna knows them, by their numbers.
        configs: of each.
        higher_is_better: the monitored score's direction.
    """
    looks = {number: rungs(name, config.trainer.epochs) for number, config in configs.items()}
    # What trials of the batch had after each epoch at which one is looked at, and who came first.
    seen: dict[int, list[tuple[float, float, int]]] = {epoch: [] for each in looks.values() for epoch in each}
    sign = -1.0 if higher_is_better else 1.0

    def judge(
        numbers: Sequence[int], epoch: int, values: Sequence[float], losses: Sequence[float]
    ) -> list[int]:
        if epoch not in seen:
            return []
        looked_at = [place for place, number in enumerate(numbers) if epoch in looks[number]]
        for place in looked_at:
            trials[numbers[place]].report(values[place], epoch)
        if name == "halving":
            first = len(seen[epoch])
            seen[epoch] += [
                (sign * value, loss, first + place)
                for place, (value, loss) in enumerate(zip(values, losses, strict=True))
            ]
            better_half = sorted(seen[epoch])[: math.ceil(len(seen[epoch]) / 2)]
            return [place for place in looked_at if seen[epoch][first + place] not in better_half]
        return [place for place in looked_at if trials[numbers[place]].should_prune()]

    return judge


def why_nothing(name: str, trials: int, batch: int, epochs: int) -> str | None:
    """Return why a pruner can end no trial of a search, or None where it can.

    Args:
        name: one of `NAMES`.
        trials: of the search.
        batch: how many are trained at once.
        epochs: of a whole trial.
    """
    if name == "none":
        return None
    if not rungs(name, epochs):
        return f"trainer.epochs={epochs} leaves no epoch after which trials could be compared"
    if min(trials, batch) == 1 and name == "halving":
        return "it compares the trials of a batch, which has one"
    before = (trials - 1) // batch * batch  # the last batch
    if before < STARTUP and name == "median":
        return f"it compares trials with {STARTUP} or more of earlier batches; choose a smaller --batch"
    return "there is one trial" if trials == 1 else None


def _first_rung(epochs: int) -> int:
    return max(1, epochs // RUNGS[0])
