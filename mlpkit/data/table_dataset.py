"""Turns a raw table into a dataset: targets, splits, and inputs encoded with a fitted encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from mlpkit.config.problems import spell
from mlpkit.data import table_splits
from mlpkit.data.column_values import RawColumn
from mlpkit.data.columns import ColumnKind, describe_columns, infer_columns
from mlpkit.data.dataset import Dataset
from mlpkit.data.encode import encode
from mlpkit.data.encoder import TableEncoder
from mlpkit.data.fit_encoder import fit_encoder
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.member_folds import fold_sizes
from mlpkit.data.overlaps import overlaps
from mlpkit.data.rare_classes import rare_classes
from mlpkit.data.raw_table import RawTable
from mlpkit.data.splits import gather_splits
from mlpkit.data.table_options import TableOptions
from mlpkit.data.table_splits import Rows
from mlpkit.data.table_targets import (
    Targets,
    check_transform,
    describe_left_out,
    find_targets,
    target_columns,
)
from mlpkit.data.table_weights import check_weight_column, read_weights
from mlpkit.data.tables import listed
from mlpkit.data.target_scaling import fit_target_scaling
from mlpkit.errors import ConfigError


def table_dataset(config: TableOptions, raw: RawTable, trained: InputSchema | None = None) -> Dataset:
    """Turn a raw table into a dataset.

    Args:
        config: names the target, and sets how columns are encoded and rows are split.
        raw: the table.
        trained: the input schema of a trained model, whose encoder is used; None fits an encoder.

    Raises:
        ConfigError: the config does not fit the table.
        DataError: a value cannot be used.
    """
    names = config.targets()
    if not names:
        raise ConfigError(
            f"dataset.target: no column is named; write dataset.target=NAME with one of "
            f"{listed(raw.table.column_names)}"
        )
    columns = target_columns(raw.table, names, raw.source, raw.locate)
    targets = find_targets(columns, config.task)
    check_transform(columns, targets, config.target_transform)
    rows_by_split, folds = split_in_folds(config, raw, targets)
    trained_on = rows_by_split["train"]
    remarks = [*raw.remarks, describe_targets(names, targets)]
    remarks += rare_classes(targets, rows_by_split, raw.locate)
    if trained is not None and trained.encoder is not None:
        encoder = trained.encoder
    else:
        encoder, lines = _fit(config, raw, names, trained_on)
        remarks += lines
    encoded = encode(encoder, raw.table, raw.source, raw.locate)
    remarks += [f"{issues}" for issues in encoded.issues if issues.unseen]
    if left := len(targets.known) - int(targets.known.sum()):
        remarks.append(describe_left_out(left))
    inputs, values = torch.from_numpy(encoded.values), torch.from_numpy(targets.values)
    indices = {name: torch.from_numpy(rows) for name, rows in rows_by_split.items()}
    splits, order = gather_splits(inputs, values, indices, _weights(config, raw, names, rows_by_split))
    remarks += overlaps(splits, way=", or split by a column that they share: dataset.split.by=group")
    if folds:
        train = splits.pop("train")
        splits = {"train": train, "val": replace(train, folds=folds), **splits}
    scaling = None
    if targets.task == "regression":
        scaling = fit_target_scaling(
            splits["train"].targets, names, config.target_transform, config.standardize
        )
    features, text_settings = encoder.features(), raw.format.settings() if raw.format is not None else {}
    return Dataset(
        name=config.name,
        input_schema=InputSchema(targets.task, features, (len(features),), names, targets.classes, encoder),
        splits=splits,
        target_scaling=scaling,
        order=order,
        remarks=tuple(remarks),
        inferred={
            key: text_settings[key]
            for key in config.inferred_options
            if key in text_settings and getattr(config, key) is None
        },
    )


def split_table(config: TableOptions, raw: RawTable, targets: Targets) -> dict[str, Rows]:
    """Return the rows of each split; with `val_folds`, there is no val. See `split_in_folds`."""
    return split_in_folds(config, raw, targets)[0]


def split_in_folds(
    config: TableOptions, raw: RawTable, targets: Targets
) -> tuple[dict[str, Rows], tuple[int, ...]]:
    """Return the rows of each split, and the sizes of the `val_folds` of train, or ().

    Rows without a target are left out.

    Raises:
        ConfigError: a requested split would be empty, or the table has no such column.
        DataError: a row has no value in the column by which rows are split.
    """
    rows, split = np.flatnonzero(targets.known), config.split
    if config.fold == "none":
        return {"train": rows}, ()
    fold = None if config.fold is None else (config.fold, config.folds)
    if split.by == "files":
        assert raw.files is not None
        return {name: part[targets.known[part]] for name, part in raw.files.items()}, ()
    column = None
    if split.column is not None:
        if split.column not in raw.table.column_names:
            raise ConfigError(
                f"dataset.split.column={spell(split.column)}: {raw.source} has no such column; there is "
                f"{listed(raw.table.column_names)}"
            )
        column = raw.columns([split.column])[0]
    by = split.by
    if by == "auto":
        by = "stratified" if targets.classes else "random"
    if by == "stratified" and not targets.classes:
        raise ConfigError(
            f"dataset.split.by=stratified: only for classes, and the task is {targets.task}; set by=random"
        )
    if column is not None and by == "column":
        return table_splits.split_by_column(rows, column), ()
    if column is not None and by == "group":
        order = table_splits.group_order(rows, column, config.seed)
    elif column is not None:
        order = table_splits.time_order(rows, column)
    elif by == "stratified":
        order = table_splits.stratified_order(rows, targets.values, config.seed)
    else:
        order = table_splits.random_order(rows, config.seed)
    if config.val_folds is None:
        return table_splits.cut(order, config.val_fraction, config.test_fraction, fold), ()
    splits = table_splits.cut(order, 0.0, config.test_fraction, fold)
    return splits, fold_sizes(order, splits["train"], config.val_folds)


def infer_inputs(
    config: TableOptions, raw: RawTable, targets: Sequence[str], rows: Rows, numbers: Rows | None = None
) -> tuple[list[RawColumn], list[ColumnKind]]:
    """Return the input columns (neither targets nor ignored) with the given rows, and their kinds.

    Args:
        config: of the dataset.
        raw: the table, or some rows of it.
        targets: the names of the target columns.
        rows: the rows to return.
        numbers: the number of each of them in the whole table; None: `rows`.

    Raises:
        ConfigError: the config names a column that does not exist, or both ignores and configures one.
    """
    for name in config.ignore:
        if name not in raw.table.column_names:
            raise ConfigError(
                f"dataset.ignore: {raw.source} has no column {spell(name)}; there is "
                f"{listed(raw.table.column_names)}"
            )
    if both := next((name for name in config.ignore if name in config.columns), None):
        raise ConfigError(
            f"dataset.columns.{spell(both)}: the column is in dataset.ignore as well; remove one"
        )
    used = {*targets, *config.ignore, config.sample_weight}
    if config.split.by in ("group", "column") and config.split.column is not None:
        used.add(config.split.column)
    columns = raw.columns([name for name in raw.table.column_names if name not in used], rows)
    return columns, infer_columns(columns, config.columns, rows if numbers is None else numbers)


def _weights(
    config: TableOptions, raw: RawTable, targets: Sequence[str], rows_by_split: Mapping[str, Rows]
) -> torch.Tensor | None:
    """Return the weights of all rows, 0 for those that are in no split; None if all rows count the same."""
    if config.sample_weight is None:
        return None
    rows = np.sort(np.concatenate(list(rows_by_split.values())))
    check_weight_column(config.sample_weight, raw.table.column_names, targets, raw.source)
    weights = np.zeros(raw.table.num_rows, np.float32)
    weights[rows] = read_weights(raw.columns([config.sample_weight], rows)[0])
    return torch.from_numpy(weights)


def _fit(
    config: TableOptions, raw: RawTable, targets: Sequence[str], train: Rows
) -> tuple[TableEncoder, list[str]]:
    """Return the encoder fitted on the training rows, and lines that describe the columns."""
    columns, kinds = infer_inputs(config, raw, targets, train)
    encoder = fit_encoder(columns, kinds, config.columns, config.scale_of_numbers(), config.signed)
    return encoder, describe_columns(kinds)


def describe_targets(names: Sequence[str], targets: Targets) -> str:
    """Return a line about the task and the classes."""
    classes = f", {len(targets.classes)} classes ({listed(targets.classes)})" if targets.classes else ""
    why = f": {targets.reason}" if targets.reason else ""
    return f"target {', '.join(map(spell, names))}: {targets.task}{classes}{why}"
