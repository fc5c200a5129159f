"""Scores of a checkpoint on a split, with scikit-learn's report."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mlpkit.analysis.answers import Answers, answer
from mlpkit.analysis.intervals import Draws, resample
from mlpkit.analysis.intervals import intervals_of as intervals_of_draws
from mlpkit.analysis.predict import Predictor
from mlpkit.config.metric import MetricConfig
from mlpkit.data.dataset import Split
from mlpkit.data.weights import row_weights
from mlpkit.errors import ConfigError
from mlpkit.metrics import add_up
from mlpkit.tasks import Task

LONGEST = 32  # characters of a class's name in scikit-learn's report, which then has at most 80 columns


@dataclass(frozen=True)
class Evaluation:
    """The scores of a split.

    Attributes:
        split: its name.
        rows: its number of rows.
        scores: loss and the task's scores.
        intervals: the 95 % interval of each score; see `mlpkit.analysis.intervals`.
        draws: the values of each score in all resamples; see `resample`.
        report: scikit-learn's, as text.
    """

    split: str
    rows: int
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    draws: Draws
    report: str


def evaluate(predictor: Predictor, name: str, rows: Split, weighted: bool = False) -> Evaluation:
    """Return the scores of a split, and scikit-learn's report on it; see `evaluate_answers`."""
    return evaluate_answers(predictor, name, answer(predictor, [rows]), weighted)


def evaluate_answers(predictor: Predictor, name: str, answers: Answers, weighted: bool = False) -> Evaluation:
    """Return the scores of what a model says of some rows, and scikit-learn's report on it.

    The loss is that of training: weighted, and of standardised targets if the model standardises them. All
    other scores are in the targets' own unit, and count all rows the same.

    Args:
        predictor: the model.
        name: the name of the rows.
        answers: what it says of them.
        weighted: whether the task's other scores count the rows by their weights as well; metrics do not.

    Raises:
        ConfigError: the rows have no weights.
    """
    rows, task = answers.rows, predictor.task
    if weighted and rows.weights is None:
        raise ConfigError(
            "--weighted: the rows have no weights; leave it out, or train with dataset.sample_weight=NAME"
        )
    predicted = task.decode(answers.outputs)
    if task.probabilities is None:
        report = _regression_report(rows.targets, predicted, rows.weights if weighted else None)
    else:
        schema = predictor.input_schema
        names, weights = schema.classes or schema.targets, rows.weights if weighted else None
        report = _classification_report(rows.targets.long(), predicted, names, weights)
    scored = _scored_rows(predictor, rows, answers.outputs, weighted, answers.losses)
    draws = scored.draws()
    return Evaluation(
        name, len(rows), scored.scores(), intervals_of_draws(draws, scored.statistics), draws, report
    )


def scores_of(
    predictor: Predictor, rows: Split, outputs: torch.Tensor, weighted: bool = False
) -> dict[str, float]:
    """Return loss and scores of the model's outputs for some rows; see `evaluate`."""
    return _scored_rows(predictor, rows, outputs, weighted).scores()


def intervals_of(
    predictor: Predictor, rows: Split, outputs: torch.Tensor, weighted: bool = False
) -> dict[str, tuple[float, float]]:
    """Return the 95 % interval of each score of some rows; see `evaluate`."""
    scored = _scored_rows(predictor, rows, outputs, weighted)
    return intervals_of_draws(scored.draws(), scored.statistics)


@dataclass(frozen=True)
class _ScoredRows:
    """The values from which scores and their intervals are computed.

    Attributes:
        task: the task.
        outputs: (rows, width), in the targets' units.
        truth: see `Task.truth`.
        statistics: the loss and the statistics (rows,) of each row, weighted.
        weights: (rows,) of each of the statistics; [] if there are none.
        metrics: metrics besides the task's scores.
    """

    task: Task
    outputs: torch.Tensor
    truth: torch.Tensor
    statistics: list[torch.Tensor]
    weights: list[torch.Tensor]
    metrics: Sequence[MetricConfig]

    def scores(self) -> dict[str, float]:
        sums = add_up(self.statistics[0], self.statistics[1:])
        values = self.task.compute(self.metrics, self.outputs, self.truth, may_be_nan=True)
        names = [metric.name for metric in self.metrics]
        return self.task.scores(sums, len(self.outputs)) | dict(zip(names, values, strict=True))

    def draws(self) -> Draws:
        return resample(self.task, self.statistics, self.outputs, self.truth, self.metrics, self.weights)


def _scored_rows(
    predictor: Predictor,
    rows: Split,
    outputs: torch.Tensor,
    weighted: bool = False,
    losses: torch.Tensor | None = None,
) -> _ScoredRows:
    task, metrics = predictor.task, predictor.metrics
    predictor.loss.check_targets(rows.targets, "the data")
    targets = task.encode(rows.targets, outputs.dtype)
    truth = task.truth(targets)
    if losses is None:
        losses = predictor.on(rows).losses(rows.inputs, targets)
    statistics = [losses, *task.statistics(outputs, truth)]
    statistics = [values.reshape(len(rows)) for values in statistics]
    in_loss, own = row_weights(rows, predictor.class_weights), row_weights(rows) if weighted else None
    if in_loss is None:
        return _ScoredRows(task, outputs, truth, statistics, [], metrics)
    others = torch.ones_like(in_loss) if own is None else own
    weights = [each[rows.rows] for each in (in_loss, *[others] * (len(statistics) - 1))]
    weighed = [weight * values for weight, values in zip(weights, statistics, strict=True)]
    statistics = weighed if own is not None else [weighed[0], *statistics[1:]]  # counts remain counts
    return _ScoredRows(task, outputs, truth, statistics, weights, () if weighted else metrics)


def _classification_report(
    targets: torch.Tensor, predicted: torch.Tensor, classes: tuple[str, ...], weights: torch.Tensor | None
) -> str:
    from sklearn.metrics import classification_report

    labels = list(range(len(classes)))
    return str(
        classification_report(
            targets.numpy(),
            predicted.numpy(),
            labels=labels,
            target_names=[name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in classes],
            sample_weight=None if weights is None else weights.numpy(),
            digits=4,
            zero_division=0,
        )
    ).rstrip()


def _regression_report(targets: torch.Tensor, predicted: torch.Tensor, weights: torch.Tensor | None) -> str:
    from sklearn import metrics

    true, found = targets.double().numpy(), predicted.double().numpy()
    if unknown := int((~predicted.isfinite()).any(1).sum()):  # which scikit-learn refuses
        return f"{unknown:,} of {len(found):,} predictions are not finite numbers"
    by = {"sample_weight": None if weights is None else weights.double().numpy()}
    lines = {
        "mean squared error": metrics.mean_squared_error(true, found, **by),
        "mean absolute error": metrics.mean_absolute_error(true, found, **by),
        "median absolute error": metrics.median_absolute_error(true, found, **by),
        "largest error": abs(true - found).max(),  # scikit-learn's takes one target only
        "explained variance": metrics.explained_variance_score(true, found, **by)
        if len(true) > 1
        else float("nan"),
    }
    width = max(len(name) for name in lines)
    return "\n".join(f"{name:<{width}}  {value:.6g}" for name, value in lines.items())
