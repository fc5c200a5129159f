"""Prints what `mlpkit data` found: the columns of a table, the target, the splits, what looks wrong, rows."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from mlpkit.config.dataset import DatasetConfig
from mlpkit.config.problems import plural, spell
from mlpkit.data.column_values import RawColumn
from mlpkit.data.columns import ColumnKind, describe_columns
from mlpkit.data.dataset import Dataset
from mlpkit.data.load import check_classes, load_dataset
from mlpkit.data.raw_table import RawTable
from mlpkit.data.scaling import Affine
from mlpkit.data.table_dataset import infer_inputs, split_table, table_dataset
from mlpkit.data.table_options import TableOptions
from mlpkit.data.table_splits import Rows
from mlpkit.data.table_targets import Targets, find_targets, target_columns
from mlpkit.errors import DataError
from mlpkit.system.console import folded, plain_table, say, shortened
from mlpkit.tasks import TASKS

if TYPE_CHECKING:
    from mlpkit.analysis.table_report import ColumnSummary

RARE = 0.05  # a class with a smaller share of the rows is rare
MOST_CLASSES = 20  # in the table of classes
AT_A_TIME = 5  # rows beside each other, which fit 80 columns
MOST_FEATURES = 40  # of a row that are printed


def print_table(
    console: Console, config: TableOptions, warnings: list[str] | None = None
) -> list[ColumnKind]:
    """Print what is in a table; return the kinds of its input columns.

    Args:
        console: the console to print on.
        config: the table.
        warnings: gets those that are printed.

    Raises:
        DataError: no model can be trained on it; its columns are printed first.
    """
    from mlpkit.analysis.table_report import all_columns, count_repeated, is_in_time_order, outliers

    raw, names = config.raw(), config.targets()
    dataset, targets, rows_by_split, problem = None, None, {"train": np.arange(raw.table.num_rows)}, None
    if names:
        try:
            targets, rows_by_split = _split(config, raw)
            dataset = table_dataset(config, raw)
            check_classes(dataset)
        except DataError as error:
            problem = error
    inputs, kinds = infer_inputs(config, raw, names, rows_by_split["train"])
    columns = raw.columns([column.name for column in inputs])

    _say(
        console,
        *raw.remarks,
        f"{plural(raw.table.num_rows, 'row')} × {plural(raw.table.num_columns, 'column')}",
    )
    _print_columns(console, all_columns(raw, kinds, names, config.ignore, config.sample_weight))
    lines = describe_columns(kinds)[1:]
    numbers = [column for column, kind in zip(columns, kinds, strict=True) if kind.kind == "number"]
    if targets is not None and targets.task == "regression":
        numbers += raw.columns(names)
    lines += [line for column in numbers if (line := outliers(column))]
    if repeated := count_repeated(raw.table):
        lines.append(f"rows that equal an earlier one in all columns: {repeated:,}")
    if names and config.split.has_folds and config.split.column is None:
        lines += [
            f"rows in the order of {spell(column.name)}: if you predict the future, split by time: "
            f"dataset.split.by=time dataset.split.column={spell(column.name)}"
            for column in columns
            if is_in_time_order(column)
        ]
    if dataset is not None and targets is not None:
        print_target(console, dataset)
        lines += [line for line in dataset.remarks if line.startswith(("left out ", "warning: "))]
        lines += _giveaways(columns, kinds, targets, rows_by_split)
    if lines:
        console.print()
        _say(console, *dict.fromkeys(lines))
    if warnings is not None:
        warnings += [line for line in dict.fromkeys(lines) if line.startswith("warning: ")]
    if problem is not None:
        raise problem
    return kinds


def _print_columns(console: Console, columns: Sequence["ColumnSummary"]) -> None:
    table = plain_table("column", [])
    table.add_column("kind")
    table.add_column("missing", justify="right")
    table.add_column("distinct", justify="right")
    table.add_column("values")
    for shown in table.columns:
        shown.overflow, shown.no_wrap = "ellipsis", True
    rows = [
        (
            shortened(column.name, 24),
            column.kind,
            _percent(column.missing),
            "" if column.distinct is None else f"{column.distinct:,}",
        )
        for column in columns
    ]
    titles = ("column", "kind", "missing", "distinct")
    taken = sum(max(map(len, cells)) + 2 for cells in zip(titles, *rows, strict=True))
    room = max(10, min(40, console.width - taken))  # where there is no room, the values are cut
    for cells, column in zip(rows, columns, strict=True):
        table.add_row(*cells, shortened(column.values, room))
    console.print()
    console.print(table)


def _giveaways(
    columns: Sequence[RawColumn],
    kinds: Sequence[ColumnKind],
    targets: Targets,
    rows_by_split: Mapping[str, Rows],
) -> list[str]:
    """Return a warning for each column that predicts the target alone."""
    from mlpkit.analysis.giveaways import find_giveaways

    held_out = [rows for name, rows in rows_by_split.items() if name != "train"]
    if not held_out:
        return []
    score, lines = "R²" if targets.task == "regression" else "accuracy", []
    for each in find_giveaways(columns, kinds, targets, rows_by_split["train"], np.concatenate(held_out)):
        target = f"the target {spell(each.label)}" if each.label else "the target"
        lines.append(
            f"warning: {spell(each.column)} alone predicts {target} ({score} {each.score:.3f} on "
            f"{each.rows:,} held-out rows); if it is not known when you predict, put it into dataset.ignore"
        )
    return lines


def print_dataset(console: Console, config: DatasetConfig) -> None:
    """Print what is in a dataset that is not a table."""
    dataset = load_dataset(config)
    shape = dataset.input_schema.input_shape
    kind = "pictures" if dataset.input_schema.is_image else "inputs"
    rows = sum(len(split) for split in dataset.splits.values())
    _say(console, f"{config.title()}: {plural(rows, 'row')}, {kind} of shape {list(shape)}")
    print_target(console, dataset)
    if dataset.remarks:
        console.print()
        _say(console, *dataset.remarks)


def print_target(console: Console, dataset: Dataset) -> None:
    """Print the task, the classes' shares or the target's range, and the splits."""
    schema = dataset.input_schema
    console.print()
    described = [line for line in dataset.remarks if line.startswith("target ")]
    _say(console, *(described or [f"target {', '.join(map(spell, schema.targets))}: {schema.task}"]))
    targets = torch.cat([split.targets for split in dataset.splits.values()])
    if schema.classes:
        _print_classes(console, schema.classes, targets)
    elif TASKS[schema.task].probabilities is not None:
        table = plain_table("label", ["rows", "share"])
        for name, has in zip(schema.targets, targets.bool().T, strict=True):
            table.add_row(shortened(name, 40), f"{int(has.sum()):,}", f"{float(has.double().mean()):.1%}")
        console.print(table)
    else:
        table = plain_table("", ["lowest", "median", "highest", "mean", "std"])
        for name, values in zip(schema.targets, targets.double().numpy().T, strict=True):
            found = (values.min(), np.median(values), values.max(), values.mean(), values.std())
            table.add_row(shortened(name, 24), *(f"{value:.6g}" for value in found))
        console.print(table)
    parts = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    console.print()
    _say(console, f"splits: {parts}")


def _print_classes(console: Console, classes: Sequence[str], labels: Tensor) -> None:
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    shares = [count / len(labels) for count in counts]
    table = plain_table("class", ["rows", "share"])
    order = sorted(range(len(classes)), key=lambda index: -counts[index])
    shown = range(len(classes)) if len(classes) <= MOST_CLASSES else order[:MOST_CLASSES]
    for index in shown:
        table.add_row(shortened(classes[index], 40), f"{counts[index]:,}", f"{shares[index]:.1%}")
    console.print(table)
    if len(classes) > MOST_CLASSES:
        _say(console, f"… and {len(classes) - MOST_CLASSES:,} rarer classes")
    rare = ", ".join(spell(classes[index]) for index in order if shares[index] < RARE)
    if rare and len(classes) <= MOST_CLASSES:
        _say(console, f"warning: under {RARE:.0%} of the rows: {rare}; accuracy says little of them")


def print_head(console: Console, config: DatasetConfig, count: int) -> None:
    """Print the first training rows, as they are and as the model reads them."""
    heads = [f"row {number}" for number in range(1, count + 1)]
    if not isinstance(config, TableOptions):
        dataset = load_dataset(config)
    elif not config.targets():
        raw = config.raw()
        _print_raw(console, raw, np.arange(min(count, raw.table.num_rows)), "as in the file")
        return
    else:
        raw = config.raw()
        dataset = table_dataset(config, raw)
        heads = _print_raw(console, raw, _split(config, raw)[1]["train"][:count], "before")
    train, schema = dataset.splits["train"], dataset.input_schema
    inputs, targets = train.inputs[:count], train.targets[:count].reshape(min(count, len(train)), -1)
    names = [*schema.features, *schema.targets]
    if not isinstance(config, TableOptions):
        said = [[schema.classes[int(label)]] for label in targets] if schema.classes else _texts(targets)
        _print_rows(console, "before", names, _joined(_texts(inputs), said), heads)
    console.print()
    scaled = inputs if dataset.input_scaling is None else _scale(inputs, dataset.input_scaling)
    after = targets if dataset.target_scaling is None else dataset.target_scaling.apply(targets)
    _print_rows(console, "after", names, _joined(_texts(scaled), _texts(after)), heads)


def _split(config: TableOptions, raw: RawTable) -> tuple[Targets, dict[str, Rows]]:
    """Return the targets of all rows, and the rows of each split, as in training."""
    targets = find_targets(target_columns(raw.table, config.targets(), raw.source, raw.locate), config.task)
    return targets, split_table(config, raw, targets)


def _print_raw(console: Console, raw: RawTable, rows: Rows, title: str) -> list[str]:
    """Print rows of a raw table; return the name of each: its line or its number."""
    names = raw.table.column_names
    values = raw.table.take(rows).to_pylist()
    cells = [["" if row[name] is None else str(row[name]) for name in names] for row in values]
    locations = [raw.locate(int(row)).rpartition(":")[2].strip() for row in rows]
    heads = [f"line {location}" if location.isdecimal() else location for location in locations]
    _print_rows(console, title, names, cells, heads)
    return heads


def _print_rows(
    console: Console,
    title: str,
    names: Sequence[str],
    cells: Sequence[Sequence[str]],
    heads: Sequence[str],
) -> None:
    """Print rows beside each other: a line for each of their values."""
    last = len(names) - 1
    shown = list(range(len(names))) if last < MOST_FEATURES else [*range(MOST_FEATURES - 1), last]
    for start in range(0, len(cells), AT_A_TIME):
        part = cells[start : start + AT_A_TIME]
        table = plain_table(title, heads[start : start + len(part)])
        for index in shown:
            if index == last and len(shown) < len(names):
                table.add_row(f"… {len(names) - len(shown):,} more", *("" for _ in part))
            table.add_row(shortened(names[index], 24), *(shortened(row[index], 20) for row in part))
        for column in table.columns:
            column.overflow, column.no_wrap = "ellipsis", True
        console.print(table)


def _scale(values: Tensor, scaling: Affine) -> Tensor:
    """Return values as the model's first layer makes them: scaled by column, or by channel."""
    parts = values.reshape(len(values), len(scaling.mean), -1)
    scaled = (parts - scaling.mean[:, None]) / scaling.std[:, None]
    return scaled.reshape(values.shape)


def _texts(values: Tensor) -> list[list[str]]:
    return [[f"{value:.4g}" for value in row] for row in values.tolist()]


def _joined(inputs: Sequence[list[str]], targets: Sequence[list[str]]) -> list[list[str]]:
    return [[*row, *said] for row, said in zip(inputs, targets, strict=True)]


def _percent(share: float) -> str:
    return "" if share == 0 else "<0.1%" if share < 0.001 else f"{share:.1%}"


def _say(console: Console, *lines: str) -> None:
    """Print lines, folded between words on a terminal; files of this folder by their names alone."""
    for line in (line.replace(f"{Path.cwd()}{os.sep}", "") for line in lines):
        say(console, *folded(console, line))
