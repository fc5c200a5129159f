"""The target columns of a table: infers the task and encodes the targets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlpkit.config.problems import did_you_mean, plural, show, spell
from mlpkit.data.column_values import Locate, RawColumn, is_numeric
from mlpkit.data.columns import FEW, FEW_TEXTS, MOSTLY, describe_unparsed
from mlpkit.data.fit_encoder import numbers_then_text
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.tables import listed
from mlpkit.errors import ConfigError, DataError

MOST_CLASSES = 1000


@dataclass(frozen=True)
class Targets:
    """The targets of all rows.

    Attributes:
        task: regression, binary, multiclass or multilabel.
        values: (rows, targets) float32 for regression and multilabel (0 or 1); else (rows,) int64 labels.
        known: whether each row has all its targets (rows,).
        classes: names of the classes, by label.
        labels: names of the labels of multilabel.
        reason: why this task was inferred, and how to set another; empty if the config sets it.
    """

    task: Literal["regression", "binary", "multiclass", "multilabel"]
    values: NDArray[Any]
    known: NDArray[np.bool_]
    classes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    reason: str = ""

    def counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count how many of the given rows have each class or label."""
        if self.classes:
            return np.bincount(self.values[rows], minlength=len(self.classes))
        counted: NDArray[np.int64] = (self.values[rows] > 0).sum(0)
        return counted

    def first(self, index: int, rows: NDArray[np.int64]) -> int:
        """Return the first of the given rows that has the class or label with this index."""
        values = self.values[rows]
        return int(rows[values == index if self.classes else values[:, index] > 0][0])


def describe_left_out(rows: int) -> str:
    """Return a line about rows that are left out since a target is missing."""
    return f"left out {plural(rows, 'row')} without a value of the target"


def target_columns(table: pa.Table, names: Sequence[str], source: str, locate: Locate) -> list[RawColumn]:
    """Return the target columns.

    Raises:
        ConfigError: a target column does not exist.
    """
    for name in names:
        if name not in table.column_names:
            way = did_you_mean(name, table.column_names)
            raise ConfigError(
                f"dataset.target={show(name)}: {source} has no such column{way}; there is "
                f"{listed(table.column_names)}"
            )
    return [RawColumn(name, table[name], source, locate) for name in names]


def find_targets(columns: Sequence[RawColumn], wanted: str) -> Targets:
    """Encode the targets of a table, and infer the task if it is auto.

    Args:
        columns: the target columns.
        wanted: auto, regression, classification or multilabel.

    Raises:
        ConfigError: a classification has several targets, or multilabel only one.
        DataError: a value does not fit the task.
    """
    known = ~np.logical_or.reduce([column.missing for column in columns])
    first = columns[0]
    if not known.any():
        raise DataError(f"{first.source}: column {spell(first.name)}: no row has a value of the target")
    if len(columns) > 1 and wanted == "classification":
        raise ConfigError(
            "dataset.task=classification: takes one target; name one in dataset.target, or set "
            "task=multilabel or regression"
        )
    if len(columns) == 1 and wanted == "multilabel":
        raise ConfigError(
            "dataset.task=multilabel: takes several targets; name them as in dataset.target=[a,b], or set "
            "task=classification"
        )
    reason = ""
    if wanted == "auto":
        wanted, reason = _infer_task(first) if len(columns) == 1 else _infer_task_of_several(columns)
    if wanted == "regression":
        return Targets("regression", _numbers(columns), known, reason=reason)
    if wanted == "multilabel":
        labels = tuple(column.name for column in columns)
        return Targets("multilabel", _yes_or_no(columns), known, labels=labels, reason=reason)
    indices, texts = first.texts()
    classes = sorted(texts, key=numbers_then_text)
    if not 2 <= len(classes) <= MOST_CLASSES:
        way = (
            "set dataset.task=regression, or name another target"
            if len(classes) > 2
            else "name another target"
        )
        raise DataError(
            f"{first.source}: column {spell(first.name)}: {plural(len(classes), 'different value')}, "
            f"and a classification takes 2 to {MOST_CLASSES}; {way}"
        )
    rows = int(known.sum())
    if len(classes) > FEW_TEXTS and 2 * len(classes) > rows:
        raise DataError(
            f"{first.source}: column {spell(first.name)}: {len(classes):,} different values in {rows:,} rows "
            "are too many for classes; set dataset.task=regression, or name another target"
        )
    if bad := next((name for name in classes if not name.isprintable() or len(name) > 200), None):
        raise DataError(
            f"{first.source}: column {spell(first.name)}: the class {show(bad)} cannot be printed on a line; "
            "rename it"
        )
    values = np.array([*(classes.index(text) for text in texts), -1], np.int64)[indices]
    task: Literal["binary", "multiclass"] = "binary" if len(classes) == 2 else "multiclass"
    return Targets(task, values, known, tuple(classes), reason=reason)


def check_transform(columns: Sequence[RawColumn], targets: Targets, transform: str) -> None:
    """Check that targets can be transformed.

    Args:
        columns: the raw target columns.
        targets: the encoded targets of the same rows.
        transform: none, log or yeo_johnson.

    Raises:
        ConfigError: the task is not a regression.
        DataError: the transform is log, and a target is not positive.
    """
    if transform != "none" and targets.task != "regression":
        raise ConfigError(
            f"dataset.target_transform={transform}: only for a regression, but the task is {targets.task}; "
            "leave it out, or set dataset.task=regression"
        )
    if transform != "log":
        return
    bad = targets.known[:, None] & (targets.values <= 0)
    for row, index in np.argwhere(bad)[:1].tolist():
        raise columns[index].error(
            row,
            f"{spell(str(columns[index].flat[row]))} has no logarithm, which dataset.target_transform=log "
            "takes; correct it, or set target_transform=yeo_johnson",
        )


def encode_targets(
    columns: Sequence[RawColumn], input_schema: InputSchema, transform: str = "none"
) -> NDArray[Any]:
    """Encode the targets of rows on which a trained model is scored; the result is like `Targets.values`.

    Args:
        columns: the raw target columns, without missing values.
        input_schema: the model's input schema.
        transform: how the model's training targets were transformed.

    Raises:
        DataError: a target is not a class of the model, or cannot be transformed.
    """
    if input_schema.task == "multilabel":
        return _yes_or_no(columns)
    if not input_schema.classes:
        numbers = _numbers(columns)
        check_transform(columns, Targets("regression", numbers, np.ones(len(numbers), bool)), transform)
        return numbers
    indices, texts = columns[0].texts()
    label_of = {name: label for label, name in enumerate(input_schema.classes)}
    labels = np.array([label_of.get(text, -1) for text in texts], np.int64)[indices]
    if len(bad := np.flatnonzero(labels < 0)):
        row = int(bad[0])
        raise columns[0].error(
            row,
            f"{show(texts[indices[row]])} is not a class of the model; it has {listed(input_schema.classes)}",
        )
    return labels


def _numbers(columns: Sequence[RawColumn]) -> NDArray[Any]:
    return np.stack([column.numbers() for column in columns], axis=1).astype(np.float32)


def _yes_or_no(columns: Sequence[RawColumn]) -> NDArray[Any]:
    by_column = []
    for column in columns:
        values, odd = column.booleans()
        if len(bad := np.flatnonzero(odd)):
            raise column.error(
                int(bad[0]),
                f"{show(column.flat[int(bad[0])].as_py())} is neither yes nor no, as multilabel "
                "needs; write 1 or 0, or set dataset.task=regression",
            )
        by_column.append(values)
    return np.stack(by_column, axis=1).astype(np.float32)


def _infer_task_of_several(columns: Sequence[RawColumn]) -> tuple[str, str]:
    """Infer the task of several targets; return it with the reason."""
    numeric = [is_numeric(column.flat.type) or column.share_of_numbers() > MOSTLY for column in columns]
    if all(column.is_boolean() for column in columns):
        way = "; dataset.task=regression reads them as numbers" if all(numeric) else ""
        return "multilabel", f"each is yes or no{way}"
    if all(numeric):
        return "regression", "several columns of numbers"
    return "multilabel", "several columns that are not numbers"


def _infer_task(column: RawColumn) -> tuple[str, str]:
    """Infer the task of one target; return it with the reason."""
    if column.flat.type == pa.bool_():
        return "classification", "true or false"
    if not is_numeric(column.flat.type) and column.share_of_numbers() < 1:
        odd = describe_unparsed(column) if column.share_of_numbers() > MOSTLY else ""
        if odd and len(column.texts()[1]) > FEW_TEXTS:  # probably a regression with a few bad values
            raise DataError(
                f"{column.source}: column {spell(column.name)}: its values are texts{odd}; for classes set "
                "dataset.task=classification"
            )
        return "classification", f"its values are texts{odd}"
    numbers = column.numbers()
    known = np.unique(numbers[~np.isnan(numbers)])
    if (known != np.round(known)).any():
        return "regression", "numbers with decimals"
    if len(known) <= FEW:
        way = "dataset.task=regression overrides this"
        return "classification", f"only {len(known)} different integers; {way}"
    return "regression", f"{len(known):,} different integers; dataset.task=classification overrides this"
