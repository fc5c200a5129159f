"""The score that runs are compared by."""

import math
from dataclasses import dataclass

from mlpkit.runs.results import RunResult


@dataclass(frozen=True)
class Metric:
    """The compared score: a score of a split, at each run's best epoch.

    Attributes:
        split: train, val or test.
        score: name of the score.
        higher_is_better: whether higher values are better.
        monitored: whether training chose the best epoch by this score.
        reason: why it is not the monitored score although the user did not ask for another; else empty.
    """

    split: str
    score: str
    higher_is_better: bool
    monitored: bool
    reason: str = ""

    def value(self, run: RunResult) -> float | None:
        """Return a run's score; None if it has none."""
        if run.best is None:
            return None
        return run.best.value if self.monitored else run.best.scores(self.split).get(self.score)

    def loss(self, run: RunResult) -> float:
        """Return the run's loss on the split, which ranks equal scores; infinity if it is unknown."""
        loss = run.best.scores(self.split).get("loss") if run.best is not None else None
        return math.inf if loss is None else loss
