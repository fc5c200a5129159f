"""The scores of K runs that are still to be logged."""

import time
from collections.abc import Sequence

from mlpkit.training.recorder import Recorder
from mlpkit.training.records import EpochScores
from mlpkit.training.results import try_each

MAX_PENDING = 200_000  # epochs × runs
PENDING_SECONDS = 10.0


class PendingScores:
    """Collects the scores of several runs and logs them together, so that the CPU caches stay warm."""

    def __init__(self) -> None:
        """Begin with none."""
        self._scores: list[EpochScores] = []
        self._logged_at = time.perf_counter()

    def add(self, scores: EpochScores) -> None:
        """Collect the scores of an epoch."""
        self._scores.append(scores)

    def are_due(self, runs: int) -> bool:
        """Whether to log now: a single run's at once, those of several when they are many or old."""
        late = time.perf_counter() - self._logged_at > PENDING_SECONDS
        return late or runs == 1 or len(self._scores) * runs > MAX_PENDING

    def log(self, recorders: Sequence[Recorder]) -> dict[int, Exception]:
        """Log them all; return the errors by run."""
        scores, self._scores, self._logged_at = self._scores, [], time.perf_counter()

        def log(run: int) -> None:
            for of_epoch in scores:
                recorders[run].log(of_epoch.report(run))

        runs = [run for run, recorder in enumerate(recorders) if recorder.wants_epochs]
        return try_each(runs, log, together=False) if scores else {}
