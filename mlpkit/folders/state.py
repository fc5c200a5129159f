"""The state that a run is resumed from: its progress and its tensors."""

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mlpkit.optimizers.plateau import PlateauState

if TYPE_CHECKING:
    from torch import Tensor

Scores = dict[str, float]
Tensors = dict[str, "Tensor"]

KINDS = ("model", "optimizer", "epoch", "best", "raw")  # of a run's tensors; prefixes of their names

Number = Annotated[int, Field(ge=0, lt=2**53)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(config=ConfigDict(strict=True, extra="forbid"))
class Progress:
    """The progress of a run; a checkpoint restores it together with the engine's tensors.

    Attributes:
        epoch: epochs done, including their evaluation.
        batch: steps done in the running epoch.
        step: optimizer steps done.
        lr: learning rate of the last step.
        seconds: training time so far, including that before a resume.
        best_epoch: the epoch with the best monitored score, the lower loss deciding ties; 0 before the first.
        best_step: steps done at the end of the best epoch.
        best_value: the monitored score at the best epoch; None before the first.
        best_loss: the monitored split's loss at the best epoch.
        best_scores: all scores at the best epoch, by split.
        stale_epochs: epochs since the last improvement by more than early_stopping.min_delta.
        stopping_value: the value that early stopping compares with.
        plateau: the state of the plateau schedule.
        member_sums: with `trainer.best_epoch=own`, the sums over each member's fold at its best epoch: the
            losses of all members, then each of the other sums; see `mlpkit.engines.own_best`.
    """

    epoch: Number = 0
    batch: Number = 0
    step: Number = 0
    lr: Finite = 0.0
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    best_epoch: Number = 0
    best_step: Number = 0
    best_value: Finite | None = None
    best_loss: Finite | None = None
    best_scores: dict[str, Scores] = field(default_factory=dict)
    stale_epochs: Number = 0
    stopping_value: Finite | None = None
    plateau: PlateauState = field(default_factory=PlateauState)
    member_sums: list[list[Finite]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @property
    def best_is_now(self) -> bool:
        """Whether the newest weights are known to be the best ones, of all members."""
        return self.best_epoch > 0 and self.best_step == self.step and not self.member_sums


@dataclasses.dataclass(frozen=True)
class State:
    """All state that a run needs to be resumed; some kinds of tensors may not be loaded.

    Attributes:
        progress: the run's progress.
        scores: the scores after the last epoch, by split.
        model: weights and buffers by name.
        optimizer: optimizer tensors by name.
        epoch: losses, outputs and rows of the running epoch so far.
        best: the best weights by name; empty if they are the newest.
        raw: the weights and buffers that steps go on from, if `model` has their averages (`trainer.ema` or
            `trainer.swa`).
    """

    progress: Progress
    scores: dict[str, Scores]
    model: Tensors = field(default_factory=dict, repr=False)
    optimizer: Tensors = field(default_factory=dict, repr=False)
    epoch: Tensors = field(default_factory=dict, repr=False)
    best: Tensors = field(default_factory=dict, repr=False)
    raw: Tensors = field(default_factory=dict, repr=False)

    def at_best(self) -> "State":
        """Return the state of the best weights alone; they must be loaded."""
        progress = self.progress
        at_best = Progress(epoch=progress.best_epoch, step=progress.best_step)
        return State(at_best, progress.best_scores, self.best or self.model)

    def of_member(self, number: int) -> "State":
        """Return a copy of the state of one member, where the tensors are those of several, stacked."""
        kinds = (self.model, self.optimizer, self.epoch, self.best)
        parts = ({name: tensor[number].clone() for name, tensor in part.items()} for part in kinds)
        return State(self.progress, self.scores, *parts)

    def tensors(self) -> Tensors:
        """Return all tensors by kind and name, such as `model/layers.0.weight`."""
        kinds = {kind: getattr(self, kind) for kind in KINDS}
        return {f"{kind}/{name}": tensor for kind, part in kinds.items() for name, tensor in part.items()}


def are_plain(by_split: Mapping[str, Scores]) -> bool:
    """Whether scores look like those of a run: the same scores for each split, with plain names."""
    rows = [set(scores) for scores in by_split.values()]
    names = {*by_split, *(name for row in rows for name in row)}
    few = len(by_split) <= 3 and len(names) <= 100
    return few and all(row == rows[0] for row in rows) and all(map(_is_plain, names))


def _is_plain(name: str) -> bool:
    return name.isidentifier() and len(name) <= 100
