"""Split-conformal prediction: sets of classes or intervals that hold the truth with a wanted probability.

Vovk et al. 2005; the adaptive sets of classes are those of Romano et al. 2020, without their random number.
Intervals of a model that predicts quantiles (`LossConfig.ends`) are those of Romano et al. 2019.
The rows that decide the size must be new to the model, and exchangeable with the rows that are predicted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from mlpkit.analysis.intervals import wilson
from mlpkit.analysis.matching_data import load_common
from mlpkit.analysis.predict import Predictor
from mlpkit.analysis.predictions import Predictions
from mlpkit.config.problems import plural
from mlpkit.data.dataset import Split
from mlpkit.errors import ConfigError
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.trust import Trust


@dataclass(frozen=True)
class Conformal:
    """The size of sets or intervals.

    Attributes:
        coverage: the probability with which they hold the truth.
        reach: one number for classes: a class is in the set if all likelier ones have at most this
            probability together. For a regression (targets,): how far the intervals reach beyond the
            prediction, or beyond both quantiles; it is negative if these are too far apart.
    """

    coverage: float
    reach: Tensor

    def low_and_high(self, predictions: Predictions) -> tuple[Tensor, Tensor]:
        """Return the ends (rows, targets) of the intervals of a regression."""
        low, high = _ends(predictions)
        middle = (low + high) / 2  # an interval cannot be shorter than nothing
        return torch.minimum(low - self.reach, middle), torch.maximum(high + self.reach, middle)

    def sets(self, predictions: Predictions) -> Tensor:
        """Return (rows, classes) booleans: whether a class is in the set; the likeliest one always is."""
        assert predictions.probabilities is not None
        return _likelier(predictions.probabilities) <= self.reach

    def holds(self, predictions: Predictions, targets: Tensor) -> Tensor:
        """Return whether the targets are inside: (rows,) for classes, (rows, targets) for a regression."""
        if predictions.probabilities is not None:
            return self.sets(predictions).gather(1, targets[:, None]).squeeze(1)
        low, high = self.low_and_high(predictions)
        return (low <= targets) & (targets <= high)


def fit_conformal(predictor: Predictor, rows: Split, coverage: float) -> Conformal:
    """Return the reach that holds the truth of new rows with a probability of at least `coverage`.

    It is the k-th smallest score of n rows, k = ⌈(n + 1) · coverage⌉. The score of a row is the probability
    of all classes together that are likelier than its own, or how far each target lies beyond the
    prediction, or beyond both quantiles.

    Raises:
        ConfigError: the task has several labels, or there are too few rows.
    """
    if predictor.task.name == "multilabel":
        raise ConfigError("--coverage: only for classes and regression, the task is multilabel; leave it out")
    k = ceil((len(rows) + 1) * coverage - 1e-9)
    if k > len(rows):
        least = ceil(round(coverage / (1 - coverage), 4))
        raise ConfigError(
            f"--coverage={coverage:g}: needs at least {least:,} validation rows, the run has "
            f"{plural(len(rows), 'row')}; lower it, or train with a larger dataset.val_fraction"
        )
    predictions = predictor.on(rows).predict(rows.inputs)
    if predictions.probabilities is None:
        low, high = _ends(predictions)
        scores = torch.maximum(low - rows.targets, rows.targets - high)
    else:
        scores = _likelier(predictions.probabilities).gather(1, rows.targets[:, None])
    reach = scores.sort(0).values[k - 1]
    return Conformal(coverage, reach)


def conformal_of(
    members: Sequence[tuple[Path, Checkpoint]],
    predictor: Predictor,
    coverage: float,
    trust: Trust,
    warn: Callable[[str], None],
) -> Conformal:
    """Return the reach of a model's sets or intervals, from its validation rows.

    Args:
        members: the path and the checkpoint of each run of the model.
        predictor: the model.
        coverage: see `Conformal`.
        trust: says whether missing files are downloaded.
        warn: called with a line if the data is not what the model was trained on.

    Raises:
        ConfigError: there are no or too few validation rows, or the members have different ones.
    """
    dataset = load_common(members, "--coverage", warn, trust)
    if "val" not in dataset.splits:
        raise ConfigError(
            f"--coverage={coverage:g}: {members[0][0]} was trained without validation rows, as fit does at "
            "last; train it with some (dataset.val_fraction, without dataset.fold=none)"
        )
    return fit_conformal(predictor, dataset.splits["val"], coverage)


def describe_coverage(
    conformal: Conformal, names: Sequence[str], predictions: Predictions, true: Tensor
) -> str:
    """Return the coverage of some rows, with its 95 % interval, and the size of the sets or intervals.

    Args:
        conformal: how far the sets or intervals reach.
        names: the names of the targets.
        predictions: of the rows.
        true: their targets.
    """
    held = conformal.holds(predictions, true)
    if predictions.probabilities is not None:
        size = f"{conformal.sets(predictions).sum(1).double().mean():.3g} classes in a set on average"
        columns = {"": held}
    else:
        size = _describe_widths(conformal, predictions)
        columns = {f" of {name}" if len(names) > 1 else "": held[:, i] for i, name in enumerate(names)}
    parts = []
    for name, each in columns.items():
        low, high = wilson(int(each.sum()), len(each))
        parts.append(f"{each.double().mean():.3f}{name} (95 % {low:.3f} to {high:.3f})")
    return f"coverage {conformal.coverage:g}: reached {', '.join(parts)}; {size}"


def _ends(predictions: Predictions) -> tuple[Tensor, Tensor]:
    """Return what intervals reach from, (rows, targets) in float64: both quantiles, or the prediction."""
    if predictions.ends is None:
        return predictions.values.double(), predictions.values.double()
    one, other = predictions.ends.double().chunk(2, 1)
    return torch.minimum(one, other), torch.maximum(one, other)  # trained quantiles may cross


def _describe_widths(conformal: Conformal, predictions: Predictions) -> str:
    if predictions.ends is None:
        return "prediction ± " + ", ".join(f"{reach:.4g}" for reach in conformal.reach.tolist())
    low, high = conformal.low_and_high(predictions)
    each = (high - low).T
    middle = torch.quantile(each, torch.tensor([0.05, 0.95], dtype=each.dtype), dim=1).T.tolist()
    widths = [
        f"{mean:.4g} ({narrow:.4g} to {wide:.4g} for nine rows of ten)"
        for mean, (narrow, wide) in zip(each.mean(1).tolist(), middle, strict=True)
    ]
    return f"mean width {', '.join(widths)}"


def _likelier(probabilities: Tensor) -> Tensor:
    """Return (rows, classes) the probability of all classes together that are likelier than each, float64."""
    p, order = probabilities.double().sort(dim=1, descending=True, stable=True)
    before = torch.cat((torch.zeros_like(p[:, :1]), p.cumsum(1)[:, :-1]), 1)
    return torch.empty_like(p).scatter_(1, order, before)
