"""The learning rates of an engine's runs."""

from collections.abc import Sequence

from mlpkit.engines.engine import Engine
from mlpkit.optimizers.schedule import build_schedule
from mlpkit.training.tracker import Tracker


class LearningRates:
    """Learning rate = base lr × schedule × plateau multiplier, for each block of runs.

    Attributes:
        now: the lr of each block at the last step.
    """

    def __init__(self, engine: Engine, tracker: Tracker) -> None:
        """Build the schedules.

        Args:
            engine: trains the runs.
            tracker: tracks the runs' scores; holds the state of plateau schedules.
        """
        self.tracker, self.blocks = tracker, engine.blocks
        configs = [engine.experiments[block.start].config for block in self.blocks]
        self._schedules = [
            (
                c.optimizer.lr,
                build_schedule(
                    c.scheduler,
                    c.optimizer.lr,
                    engine.steps.per_epoch,
                    c.trainer.epochs,
                    c.trainer.time_limit,
                ),
            )
            for c in configs
        ]
        self.now = [0.0] * len(self.blocks)

    def at(self, step: int, seconds: float) -> list[float]:
        """Return each block's lr for the step that follows `step` steps and `seconds` of training."""
        tracker = self.tracker
        self.now = [
            lr * schedule(step, seconds) * tracker.multiplier(block.start)
            for block, (lr, schedule) in zip(self.blocks, self._schedules, strict=True)
        ]
        return self.now

    def of_runs(self) -> list[float]:
        """Return each run's lr at the last step."""
        if len(self.blocks) == self.blocks[-1].stop:  # each block is one run
            return self.now
        pairs = zip(self.blocks, self.now, strict=True)
        return [lr for block, lr in pairs for _ in block]

    def restore(self, lrs: Sequence[float]) -> None:
        """Set the lr of each run; the inverse of `of_runs`."""
        self.now = [lrs[block.start] for block in self.blocks]
