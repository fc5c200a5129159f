"""Deals a table's rows to train, val and test."""

from dataclasses import replace

import torch
from torch import Tensor

from mlpkit.config.dataset import DatasetConfig
from mlpkit.data.dataset import SPLITS, Dataset, Split
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.random_split import random_split
from mlpkit.data.scaling import column_scaling
from mlpkit.errors import DataError


def split_at_random(
    config: DatasetConfig,
    input_schema: InputSchema,
    inputs: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
) -> Dataset:
    """Return a dataset whose rows are split at random.

    Args:
        config: sets the sizes of the splits, and whether columns are scaled.
        input_schema: the task and the names of features, targets and classes.
        inputs: (rows, features) float32.
        targets: (rows, targets) float32 for regression and multilabel; (rows,) int64 class labels otherwise.
        weights: (rows,) float32, how much each row counts in the loss; None: all the same.

    Raises:
        ConfigError: a split that is asked for would be empty.
        DataError: inputs, targets or weights do not match the input schema.
    """
    classes, regression = input_schema.classes, input_schema.task == "regression"
    rows = len(inputs)
    of_targets = ((rows,), torch.int64) if classes else ((rows, len(input_schema.targets)), torch.float32)
    for kind, values, (shape, dtype) in (
        ("inputs", inputs, ((rows, len(input_schema.features)), torch.float32)),
        ("targets", targets, of_targets),
        ("weights", weights, ((rows,), torch.float32)),
    ):
        if values is not None and (values.shape, values.dtype) != (shape, dtype):
            raise DataError(
                f"dataset={config.name}: its {kind} must have shape {shape} and be {dtype}, "
                f"not {tuple(values.shape)} and {values.dtype}"
            )
    last = len(classes) - 1
    if classes and len(outside := targets[(targets < 0) | (targets > last)]):
        raise DataError(
            f"dataset={config.name}: its labels must be from 0 to {last}, one for each of its classes, "
            f"not {int(outside[0])}"
        )
    if not classes and not regression and len(odd := targets[(targets != 0) & (targets != 1)]):
        raise DataError(f"dataset={config.name}: its labels must be 0 or 1, not {float(odd[0]):g}")
    splits, _ = gather_splits(inputs, targets, split_rows(config, targets), weights)
    train = splits["train"]
    return Dataset(
        name=config.name,
        input_schema=input_schema,
        splits=splits,
        input_scaling=column_scaling(train.inputs) if config.standardize else None,
        target_scaling=column_scaling(train.targets) if config.standardize and regression else None,
    )


def split_rows(config: DatasetConfig, targets: Tensor) -> dict[str, Tensor]:
    """Split all rows at random; see `random_split`."""
    return split_remaining(config, targets, {"train": slice(None)})


def split_remaining(config: DatasetConfig, targets: Tensor, given: dict[str, slice]) -> dict[str, Tensor]:
    """Return the row indices of each split; a split that is not given is taken from train at random.

    Args:
        config: sets the sizes of the splits that are taken from train.
        targets: the targets of all rows.
        given: the rows of train, and of the splits that the data already has.
    """
    indices = {name: torch.arange(len(targets))[rows] for name, rows in given.items()}
    train = indices.pop("train")
    val, test = (
        0.0 if name in indices else share for name, share in zip(SPLITS[1:], config.fractions(), strict=True)
    )
    is_class = targets.dtype == torch.int64
    labels = targets[train] if is_class and config.is_stratified() else None
    rows_by_split = random_split(len(train), config.seed, val, test, labels)
    indices |= {name: train[rows] for name, rows in rows_by_split.items()}
    return {name: indices[name] for name in SPLITS if name in indices}


def gather_splits(
    inputs: Tensor, targets: Tensor, rows_by_split: dict[str, Tensor], weights: Tensor | None = None
) -> tuple[dict[str, Split], Tensor]:
    """Reorder a table so that each split is one slice of it; return the splits and the order of the rows.

    Args:
        inputs: the inputs of all rows.
        targets: the targets of all rows.
        rows_by_split: the row indices of each split.
        weights: the weights of all rows, or None.
    """
    order = torch.cat(list(rows_by_split.values()))
    inputs, targets = inputs[order], targets[order]
    weights = None if weights is None else weights[order]
    splits, start = {}, 0
    for name, rows in rows_by_split.items():
        splits[name] = Split(inputs, targets, slice(start, start + len(rows)), weights)
        start += len(rows)
    return splits, order


def resplit(dataset: Dataset, config: DatasetConfig) -> Dataset:
    """Split the dataset's table again, as another config says. The table in memory is shared.

    Args:
        dataset: a dataset whose scaling does not depend on the split.
        config: another config of the same table.
    """
    assert dataset.order is not None
    indices = torch.argsort(dataset.order)
    train = dataset.splits["train"]
    rows_by_split = split_rows(config, train.all_targets[indices])
    again = {name: replace(train, rows=indices[rows]) for name, rows in rows_by_split.items()}
    others = {
        name: split for name, split in dataset.splits.items() if split.all_inputs is not train.all_inputs
    }
    return replace(dataset, splits=again | others)
