"""Scores of a checkpoint on a split, with scikit-learn's report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mlpkit.analysis.answers import Answers, answer
from mlpkit.analysis.intervals import Draws, resample
from mlpkit.analysis.intervals import intervals_of as intervals_of_draws
from mlpkit.analysis.predict import Predictor
from mlpkit.config.dataset import DatasetConfig
from mlpkit.config.metric import MetricConfig
from mlpkit.data.dataset import Dataset, Split
from mlpkit.data.load import load_dataset
from mlpkit.data.weights import row_weights
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.trust import Trust
from mlpkit.metrics import add_up
from mlpkit.tasks import Task

LONGEST = 32  # characters of a class's name in scikit-learn's report, which then has at most 80 columns

Load = Callable[[DatasetConfig], Dataset]


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


def load_matching(
    config: DatasetConfig,
    stored: Checkpoint,
    path: Path,
    warn: Callable[[str], None],
    trust: Trust = Trust.FOREIGN,
    load: Load | None = None,
) -> Dataset:
    """Return a dataset that the checkpoint's model can read.

    With the run's own config it should be the data that the model was trained on. If the files hold other
    data by now, its test split may hold training rows.

    Args:
        config: of the dataset.
        stored: the checkpoint.
        path: the checkpoint's path.
        warn: called with a line if the run's config now gives other data.
        trust: says whether missing files are downloaded, and how large a generated dataset may be.
        load: returns a dataset that was loaded already; None: load it.

    Raises:
        ConfigError: the model was trained on rows in memory.
        DataError: its columns or its task differ from the model's, or it is too large.
    """
    if stored.estimator and config == stored.config.dataset:
        raise ConfigError(
            f"{path}: was trained on rows in memory, by {stored.estimator.get('class', 'an estimator')}.fit, "
            "so it has no split; score a file with --input"
        )
    trust.check_data(config, path)
    if load is not None:
        dataset = load(config)
    else:
        dataset = load_dataset(config, trust.may_download, trained=stored.input_schema)
    ours, theirs = dataset.input_schema.to_dict(), stored.input_schema.to_dict()
    different = [name for name in ours if ours[name] != theirs.get(name)]
    if different:
        raise DataError(
            f"dataset={dataset.name}: its {', '.join(different)} differ from what {path} was trained on"
        )
    if config == stored.config.dataset and (difference := stored.other_data(dataset)):
        warn(f"warning: {difference}: any split of it may hold rows that the model was trained on")
    return dataset


def load_common(
    members: Sequence[tuple[Path, Checkpoint]], option: str, warn: Callable[[str], None], trust: Trust
) -> Dataset:
    """Return the dataset that all runs of a model were trained on.

    Args:
        members: the path and the checkpoint of each run.
        option: the option that needs it, for the error.
        warn: see `load_matching`.
        trust: see `load_matching`.

    Raises:
        ConfigError: the runs were trained on different rows.
    """
    path, stored = members[0]
    check_common(members, option)
    return load_matching(stored.config.dataset, stored, path, warn, trust)


def check_common(members: Sequence[tuple[Path, Checkpoint]], option: str) -> None:
    """Check that all runs of a model were trained on the same rows.

    Raises:
        ConfigError: they were not.
    """
    if any(member.fingerprint != members[0][1].fingerprint for _, member in members):
        raise ConfigError(f"{option}: the runs were trained on different rows; name a sweep over seeds alone")


def without_rows_of(split: Split, train: Split) -> Split:
    """Return the rows of a split whose inputs are not those of a training row."""
    known = {row.tobytes() for row in train.inputs.numpy()}
    fresh = torch.tensor([row.tobytes() not in known for row in split.inputs.numpy()])
    weights = None if split.weights is None else split.weights[fresh]
    return Split(split.inputs[fresh], split.targets[fresh], all_weights=weights)


def choose_split(dataset: Dataset, name: str | None) -> tuple[str, Split]:
    """Return a split by name; None is test, or the monitored one where there is no test.

    Raises:
        ConfigError: the dataset has no such split.
    """
    chosen = name if name is not None else ("test" if "test" in dataset.splits else dataset.monitored)
    if chosen not in dataset.splits:
        raise ConfigError(f"--split={chosen}: this run has {', '.join(dataset.splits)}")
    return chosen, dataset.splits[chosen]


def refuse_folds(name: str, rows: Split) -> None:
    """Refuse a split most of whose rows each member was trained on, where all members predict together.

    Raises:
        ConfigError: it is one; see `Split.folds`.
    """
    if rows.folds:
        raise ConfigError(
            f"--split={name}: most members were trained on these rows (dataset.val_folds); name test, or "
            "score the rows out of fold with mlpkit evaluate --split val"
        )


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
