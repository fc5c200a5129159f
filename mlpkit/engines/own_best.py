"""The best weights of each member by its own fold: `trainer.best_epoch=own`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mlpkit.errors import DataError
from mlpkit.folders.state import Progress

FloatArray = NDArray[np.float64]


class OwnBest:
    """The sums over each member's fold, at its best epoch and at the last one, for K runs of M members.

    The sums are those of `mlpkit.metrics`: the loss comes first. With the same number of rows in a fold at
    every epoch, the lowest sum is the lowest mean.

    Attributes:
        folds: (K, M) rows of each fold.
        count: S, the number of sums.
        best: of each run, (S, M) the sums at the best epochs; None before the first epoch.
        last: of each run, likewise at the last epoch.
    """

    def __init__(self, folds: Sequence[Sequence[int]], count: int) -> None:
        """Start without an epoch.

        Args:
            folds: (K, M) rows of each fold.
            count: S, the number of sums.
        """
        self.folds, self.count = [tuple(sizes) for sizes in folds], count
        self.best: list[FloatArray | None] = [None] * len(folds)
        self.last: list[FloatArray] = []

    def evaluated(self, columns: Sequence[Tensor]) -> None:
        """Take each row's losses and statistics, (K, rows) in the folds' order; where K = 1 without it."""
        runs = len(self.folds)
        of_runs = np.stack([column.double().cpu().numpy().reshape(runs, -1) for column in columns])
        self.last = [
            np.add.reduceat(of_runs[:, run], np.cumsum((0, *sizes[:-1])), axis=1)
            for run, sizes in enumerate(self.folds)
        ]

    def update(self) -> list[bool]:
        """Compare the last epoch with the best ones; return (K · M) whether it is the best of each member."""
        better: list[bool] = []
        for run, last in enumerate(self.last):
            best = self.best[run]
            of_run = np.ones(last.shape[1], bool) if best is None else last[0] < best[0]
            self.best[run] = last if best is None else np.where(of_run, last, best)
            better += of_run.tolist()
        return better

    def sums(self) -> FloatArray:
        """Return (S, K), the sums over all folds of each run, at the members' best epochs."""
        return np.stack([best.sum(1) for best in self.best if best is not None], axis=1)

    def select_runs(self, runs: Sequence[int]) -> "OwnBest":
        """Return the sums of some runs."""
        selected = OwnBest([self.folds[run] for run in runs], self.count)
        selected.best = [self.best[run] for run in runs]
        selected.last = [self.last[run] for run in runs] if self.last else []
        return selected

    def write(self, run: int, progress: Progress) -> None:
        """Copy a run's best sums into its progress; `restore` is the inverse."""
        best = self.best[run]
        progress.member_sums = [] if best is None else best.tolist()

    def check(self, run: int, progress: Progress) -> None:
        """Check a run's progress before it is restored.

        Raises:
            DataError: it does not have as many sums as there are members and scores.
        """
        found, members = [len(each) for each in progress.member_sums], len(self.folds[run])
        if found != ([members] * self.count if progress.epoch else []):
            raise DataError("the best scores of its members are missing, or are those of other members")

    def restore(self, run: int, progress: Progress) -> None:
        """Restore a run's best sums."""
        self.best[run] = np.array(progress.member_sums) if progress.member_sums else None
