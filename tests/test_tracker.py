"""What scores decide, for K runs: best epochs, early stopping and the plateau schedule."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from running import config
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mlpkit.config.run import EarlyStopping
from mlpkit.folders.state import Progress
from mlpkit.optimizers.none import ConstantSchedule
from mlpkit.optimizers.plateau import Plateau
from mlpkit.tasks import BINARY, REGRESSION
from mlpkit.training.records import EpochScores
from mlpkit.training.tracker import Tracker

BASE, LR, STEPS = config(), 0.1, 3  # steps of an epoch
# Sums and products of these are exact, so that no bound depends on rounding; ties come often.
VALUES = st.sampled_from([-1.0, -0.5, 0.25, 0.5, 0.5, 0.75, 1.0, 2.0, math.nan])
LOSSES = st.sampled_from([0.25, 0.5, 0.5, 1.0])


def configured(patience=None, min_delta=0.0, scheduler=None, mode="abs"):
    stopping = EarlyStopping(patience=patience, min_delta=min_delta, min_delta_mode=mode)
    return BASE.model_copy(
        update={
            "trainer": BASE.trainer.model_copy(update={"early_stopping": stopping}),
            "optimizer": BASE.optimizer.model_copy(update={"lr": LR}),
            "scheduler": scheduler or ConstantSchedule(name="none"),
        }
    )


PLATEAUS = st.builds(
    Plateau,
    name=st.just("plateau"),
    factor=st.sampled_from([0.5, 0.1]),
    patience=st.integers(0, 2),
    threshold=st.sampled_from([0.0, 0.25, 0.5]),
    threshold_mode=st.sampled_from(["rel", "abs"]),
    cooldown=st.integers(0, 2),
    min_lr=st.sampled_from([0.0, 0.03]),
)
CONFIGS = st.builds(
    configured,
    patience=st.none() | st.integers(1, 4),
    min_delta=st.sampled_from([0.0, 0.0, 0.25, 0.5]),
    mode=st.sampled_from(["abs", "rel"]),
    scheduler=st.none() | PLATEAUS,
)


class Reference:
    """One run: all of its scores, from which everything is found anew each time."""

    def __init__(self, config, task):
        self.config, self.sign, self.seen = config, 1 if task.higher_is_better else -1, []
        self.optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
        self.scheduler = None
        if isinstance(config.scheduler, Plateau):
            options = config.scheduler.model_dump(exclude={"name", "warmup_steps", "warmup_start"})
            mode = "max" if task.higher_is_better else "min"
            self.scheduler = ReduceLROnPlateau(self.optimizer, mode=mode, **options)

    def take(self, value, loss):
        self.seen.append((value, loss))
        if self.scheduler is not None:
            self.scheduler.step(value)

    def best_epoch(self):
        """Return the first epoch of the best value, of equal values of the lowest loss; 0 without one."""
        numbers = [(self.sign * v, -loss, -epoch) for epoch, (v, loss) in enumerate(self.seen, 1) if v == v]
        return -max(numbers)[2] if numbers else 0

    def stale_epochs(self):
        """Return how many epochs there were since the last one that counts for early stopping."""
        stopping, last, at = self.config.trainer.early_stopping, None, 0
        if stopping.min_delta == 0:
            return len(self.seen) - self.best_epoch()
        for epoch, (value, _) in enumerate(self.seen, 1):
            share = abs(last or 0.0) if stopping.min_delta_mode == "rel" else 1.0
            if value == value and (last is None or self.sign * (value - last) > stopping.min_delta * share):
                last, at = value, epoch
        return len(self.seen) - at

    def is_to_stop(self):
        patience = self.config.trainer.early_stopping.patience
        return patience is not None and self.stale_epochs() >= patience

    def multiplier(self):
        return self.optimizer.param_groups[0]["lr"] / LR


def scores_of(epoch, values, losses):
    """Return the scores of an epoch, numbers where there is one run."""
    alone = len(values) == 1
    columns = {name: of[0] if alone else np.array(of) for name, of in (("score", values), ("loss", losses))}
    train = {"loss": float(epoch) if alone else np.arange(len(values)) + 100.0 * epoch}
    norms = torch.zeros(len(values), 1)
    scores = {"train": train, "val": columns}
    return EpochScores(epoch, STEPS * epoch, scores, [LR] * len(values), norms, 0.0, 0, 0.0)


def written(tracker, run, epoch):
    progress = Progress(epoch=epoch, step=STEPS * epoch)
    tracker.write(run, progress)
    return progress


def check(tracker, run, reference, of_epochs):
    """Compare a run with its reference; of_epochs holds its scores of each epoch."""
    epoch, best = len(reference.seen), reference.best_epoch()
    progress = written(tracker, run, epoch)
    assert (progress.best_epoch, progress.best_step) == (best, STEPS * best)
    value, loss = reference.seen[best - 1] if best else (None, None)
    assert (progress.best_value, progress.best_loss) == (value, loss)
    assert progress.best_scores == (of_epochs[best - 1] if best else {})
    assert progress.stale_epochs == reference.stale_epochs()
    assert (run in tracker.stopped_early(epoch, 0.0)) == reference.is_to_stop()
    assert tracker.multiplier(run) == pytest.approx(reference.multiplier(), rel=1e-12)
    values, losses = tracker.best_values()
    assert (values[run], losses[run]) == (
        (value, loss) if best else (pytest.approx(math.nan, nan_ok=True),) * 2
    )


@pytest.mark.long
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from([BINARY, REGRESSION]),
    st.lists(CONFIGS, min_size=1, max_size=4),
    st.lists(
        st.tuples(
            st.lists(st.tuples(VALUES, LOSSES), min_size=4, max_size=4),
            st.sampled_from(["", "", "", "restored", "fewer"]),
            st.integers(0, 3),
        ),
        max_size=16,
    ),
)
def test_runs_are_followed_as_each_would_be_alone(task, configs, epochs):
    """Also where some of them leave, and where all go on in another process."""
    tracker, references = Tracker(task, configs), [Reference(config, task) for config in configs]
    of_epochs: list[list[Any]] = [[] for _ in references]
    for epoch, (drawn, event, leaving) in enumerate(epochs, 1):
        values, losses = (list(of) for of in zip(*drawn[: len(references)], strict=True))
        scores = scores_of(epoch, values, losses)
        before = [reference.best_epoch() for reference in references]
        better = tracker.update_best(scores, values, losses)
        for run, reference in enumerate(references):
            reference.take(values[run], losses[run])
            of_epochs[run].append(scores.scores_of(run))
        now = [reference.best_epoch() for reference in references]
        assert better == [run for run in range(len(now)) if now[run] != before[run]]
        for run, reference in enumerate(references):
            check(tracker, run, reference, of_epochs[run])
        if event == "fewer" and len(references) > 1:
            kept = [run for run in range(len(references)) if run != leaving % len(references)]
            tracker = tracker.select_runs(kept)
            references, of_epochs = ([of[run] for run in kept] for of in (references, of_epochs))
        if event == "restored":
            states = [written(tracker, run, epoch) for run in range(len(references))]
            tracker = Tracker(task, [reference.config for reference in references])
            for run, progress in enumerate(states):
                tracker.restore(run, progress)
        for run, reference in enumerate(references):
            check(tracker, run, reference, of_epochs[run])


def test_what_was_written_does_not_change_with_what_comes():
    """A checkpoint is a copy."""
    tracker = Tracker(BINARY, [configured(scheduler=Plateau(name="plateau", patience=0))])
    tracker.update_best(scores_of(1, [0.5], [0.5]), [0.5], [0.5])
    progress = written(tracker, 0, 1)
    kept = progress.to_dict()
    for epoch in (2, 3):
        tracker.update_best(scores_of(epoch, [0.25], [0.5]), [0.25], [0.5])
    assert tracker.multiplier(0) < 1
    assert progress.to_dict() == kept
    tracker.restore(0, progress)
    tracker.update_best(scores_of(2, [0.25], [0.5]), [0.25], [0.5])
    assert progress.to_dict() == kept


SEQUENCE = [0.5, 0.6, 0.6, 0.65, 0.64, math.nan, 0.65, 0.9]
STOPPING = [
    (None, 0.0, None, 8),
    (1, 0.0, 3, 2),
    (2, 0.0, 6, 4),
    (3, 0.0, 7, 4),
    (4, 0.0, None, 8),
    (2, 0.07, 4, 4),  # 0.65 is the best, but too little above 0.6
    (4, 0.2, 5, 4),
]


def test_early_stopping():
    """All at once; what a run's best epoch was when it stopped."""
    tracker = Tracker(BINARY, [configured(patience, delta) for patience, delta, _, _ in STOPPING])
    stopped: dict[Any, Any] = {}
    for epoch, value in enumerate(SEQUENCE, 1):
        values = [value] * len(STOPPING)
        tracker.update_best(scores_of(epoch, values, [0.0] * len(STOPPING)), values, [0.0] * len(STOPPING))
        for run in tracker.stopped_early(epoch, 0.0):
            stopped.setdefault(run, (epoch, tracker.runs[run].best_epoch))
    ended = {run: (after, best) for run, (_, _, after, best) in enumerate(STOPPING) if after is not None}
    assert stopped == ended
    assert [tracker.runs[run].best_epoch for run in range(len(STOPPING))] == [8] * len(STOPPING)
