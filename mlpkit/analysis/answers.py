"""What a model says of rows with known targets: all that scores need, without the rows' features."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mlpkit.analysis.predict import Predictor
from mlpkit.data.dataset import Split


@dataclass(frozen=True)
class Answers:
    """The outputs of a model for some rows.

    Attributes:
        rows: the rows' targets and weights; their inputs are empty (rows, 0).
        all_outputs: (rows, width), see `Predictor.all_outputs`.
        losses: (rows,) see `Predictor.losses`.
        predicted: the number of outputs that are predictions, the first ones; None: all.
        plain: (rows, width) the outputs of the same model without its temperature; None if not asked for.
        novelty: (rows,) see `mlpkit.analysis.novelty`; None if not asked for.
    """

    rows: Split
    all_outputs: Tensor
    losses: Tensor
    predicted: int | None
    plain: Tensor | None = None
    novelty: Tensor | None = None

    @property
    def outputs(self) -> Tensor:
        """(rows, width), see `Predictor.outputs`."""
        return self.all_outputs[:, : self.predicted]


def answer(
    predictor: Predictor,
    portions: Iterable[Split],
    plain: Predictor | None = None,
    novelty: Callable[[Tensor], Tensor] | None = None,
) -> Answers:
    """Return what a model says of some rows, of which only a portion need be in memory.

    Args:
        predictor: the model.
        portions: the rows, at least one.
        plain: the same model without its temperature.
        novelty: inputs (rows, features) -> how unlike the training rows each is (rows,).

    Raises:
        DataError: the loss is not defined for a target, or a portion cannot be read.
    """
    return _joined([_answer(predictor, rows, plain, novelty) for rows in portions])


def _answer(
    predictor: Predictor,
    rows: Split,
    plain: Predictor | None,
    novelty: Callable[[Tensor], Tensor] | None,
) -> Answers:
    of, inputs = predictor.on(rows), rows.inputs
    of.loss.check_targets(rows.targets, "the data")
    outputs = of.all_outputs_in_blocks(inputs)
    return Answers(
        Split(inputs.new_empty(len(inputs), 0), rows.targets, all_weights=rows.weights, folds=rows.folds),
        outputs,
        of.losses(inputs, of.task.encode(rows.targets, outputs.dtype)).reshape(len(inputs)),
        of.network.predicted,
        None if plain is None else plain.on(rows).outputs_in_blocks(inputs),
        None if novelty is None else novelty(inputs),
    )


def _joined(parts: list[Answers]) -> Answers:
    if len(parts) == 1:
        return parts[0]
    rows = [part.rows for part in parts]
    targets, weights = torch.cat([each.targets for each in rows]), _cat([each.weights for each in rows])
    return Answers(
        Split(targets.new_empty(len(targets), 0), targets, all_weights=weights),
        torch.cat([part.all_outputs for part in parts]),
        torch.cat([part.losses for part in parts]),
        parts[0].predicted,
        _cat([part.plain for part in parts]),
        _cat([part.novelty for part in parts]),
    )


def _cat(parts: list[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if known else None
