"""How much each row counts in the loss: the weight of its class times its own weight."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mlpkit.config.problems import did_you_mean, spell
from mlpkit.data.dataset import Dataset, Split
from mlpkit.data.member_folds import ALL_ROWS
from mlpkit.data.tables import listed
from mlpkit.errors import ConfigError, DataError

ClassWeight = str | Mapping[str, float]


def class_weights(wanted: ClassWeight, dataset: Dataset) -> tuple[float, ...]:
    """Return the weight of each class by label, or () if all classes count the same.

    `balanced` gives all classes the same total weight: rows / (classes · rows of the class), counted in the
    training rows, as scikit-learn does; weighted rows count by their weights.

    Args:
        wanted: none, balanced, or the weight of each class by its name.
        dataset: the run's dataset.

    Raises:
        ConfigError: the dataset has no classes, or the names are not those of its classes.
    """
    if wanted == "none":
        return ()
    classes, schema = dataset.input_schema.classes, dataset.input_schema
    if not classes:
        raise ConfigError(
            f"trainer.class_weight: only for classes, and the task of dataset={dataset.name} is "
            f"{schema.task}; leave it out"
        )
    if not isinstance(wanted, str):
        return _by_name(wanted, classes, dataset.name)
    train = dataset.splits.get(ALL_ROWS, dataset.splits["train"])  # all members have the same weights
    if dataset.disk is not None:
        counts = torch.tensor(dataset.disk.header.splits["train"].weights, dtype=torch.float64)
    else:
        weights = None if train.weights is None else train.weights.double()
        counts = torch.bincount(train.targets, weights, len(classes)).double()
    if bool((counts == 0).any()):
        absent = listed(name for name, count in zip(classes, counts.tolist(), strict=True) if not count)
        raise ConfigError(
            f"trainer.class_weight=balanced: no training row is of the class {absent}; set the weights by "
            "name, or split the rows in another way"
        )
    return tuple((counts.sum() / (len(classes) * counts)).tolist())


def _by_name(wanted: Mapping[str, float], classes: Sequence[str], dataset: str) -> tuple[float, ...]:
    if unknown := next((name for name in wanted if name not in classes), None):
        raise ConfigError(
            f"trainer.class_weight: dataset={dataset} has no class {spell(unknown)}"
            f"{did_you_mean(unknown, classes)}; its classes are {listed(classes)}"
        )
    if absent := [name for name in classes if name not in wanted]:
        raise ConfigError(
            f"trainer.class_weight: no weight for the class {listed(absent)}; name all classes, such as with "
            "the weight 1"
        )
    return tuple(float(wanted[name]) for name in classes)


def row_weights(split: Split, by_class: Sequence[float] = ()) -> Tensor | None:
    """Return the weights (all rows,) of all rows of a split's table; None if all count the same.

    Their mean over the split is 1, so the mean of weight · loss is the weighted mean of the losses.

    Args:
        split: the split.
        by_class: the weight of each class; () if all count the same.

    Raises:
        DataError: all rows of the split have the weight 0.
    """
    if split.all_weights is None and not by_class:
        return None
    weights = torch.ones(len(split.all_targets), dtype=torch.float64)
    if split.all_weights is not None:
        weights = split.all_weights.double()
    if by_class:
        weights = weights * torch.tensor(by_class, dtype=torch.float64)[split.all_targets]
    mean = weights[split.rows].mean()
    if not mean > 0:
        raise DataError(
            f"all {len(split)} rows to score have the weight 0; give at least one of them a weight above 0"
        )
    return weights / mean


def check_weights(dataset: Dataset) -> None:
    """Check the weights of a dataset's rows.

    Raises:
        DataError: some splits have none, there is not one for each row, or one is negative or not finite.
    """
    if dataset.disk is not None:
        return  # checked when the table was written
    weighted = [name for name, split in dataset.splits.items() if split.all_weights is not None]
    if len(weighted) not in (0, len(dataset.splits)):
        raise DataError(
            f"dataset={dataset.name}: only {listed(weighted)} has weights; give all splits weights, or none"
        )
    for name in weighted:
        split, weights = dataset.splits[name], dataset.splits[name].weights
        assert weights is not None
        if weights.shape != (len(split),):
            raise DataError(
                f"dataset={dataset.name}: the weights of {name} must have shape {(len(split),)}, "
                f"not {tuple(weights.shape)}"
            )
        if len(bad := weights[~(weights.isfinite() & (weights >= 0))]):
            raise DataError(
                f"dataset={dataset.name}: the weights of {name} must be finite and at least 0, "
                f"not {float(bad[0]):g}"
            )
