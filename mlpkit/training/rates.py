"""The learning rates of an engine's runs."""

from collections.abc import Sequence

from mlpkit.engines.engine import Engine
from mlpkit.schedules.schedule import build_schedule
from mlpkit.training.tracker import Tracker


class LearningRates:
    """Base rate × schedule × what a plateau has left of it, for each block of runs.

    Attributes:
        now: of each block, at the last step.
    """

    def __init__(self, engine: Engine, tracker: Tracker) -> None:
        """Build the schedules.

        Args:
            engine: of the runs.
            tracker: likewise; it follows plateaus.
        """
        self.tracker, self.blocks = tracker, engine.optimizers.blocks
        configs = [engine.experiments[block.first].config for block in self.blocks]
        self._schedules = [
            (
                of.optimizer.lr,
                build_schedule(of.scheduler, of.optimizer.lr, engine.steps_per_epoch, of.trainer.epochs),
            )
            for of in configs
        ]
        self.now = [0.0] * len(self.blocks)

    def at(self, step: int) -> list[float]:
        """Return the rate of each block after so many steps."""
        tracker = self.tracker
        self.now = [
            lr * schedule(step) * tracker.multiplier(block.first)
            for block, (lr, schedule) in zip(self.blocks, self._schedules, strict=True)
        ]
        return self.now

    def of_runs(self) -> list[float]:
        """Return the rate of each run at the last step."""
        if len(self.blocks) == self.blocks[-1].stop:  # a block each
            return self.now
        pairs = zip(self.blocks, self.now, strict=True)
        return [lr for block, lr in pairs for _ in range(block.first, block.stop)]

    def restore(self, of_runs: Sequence[float]) -> None:
        """Take back what `of_runs` has returned."""
        self.now = [of_runs[block.first] for block in self.blocks]
