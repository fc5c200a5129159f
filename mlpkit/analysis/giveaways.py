"""Finds columns that give the target away: each of them alone predicts it almost without errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score, recall_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mlpkit.data.column_values import Floats, RawColumn
from mlpkit.data.columns import ColumnKind
from mlpkit.data.table_splits import Rows
from mlpkit.data.table_targets import Targets

NEAR_PERFECT = 0.98
MOST_ROWS = 20_000  # training rows, and as many held-out rows
LEAST_ROWS = 20  # held-out rows
LEAF = 5  # least training rows in a leaf of a tree


@dataclass(frozen=True)
class Giveaway:
    """A column that predicts the target alone.

    Attributes:
        column: its name.
        score: on the held-out rows: the balanced accuracy, or R².
        rows: the number of held-out rows.
        label: the label that it predicts, of a multilabel target.
    """

    column: str
    score: float
    rows: int
    label: str = ""


def find_giveaways(
    columns: Sequence[RawColumn], kinds: Sequence[ColumnKind], targets: Targets, train: Rows, held_out: Rows
) -> list[Giveaway]:
    """Return the columns from which a decision tree predicts the target on held-out rows almost perfectly.

    The accuracy is balanced, so that a tree which misses a rare class has a low one.

    Args:
        columns: of the inputs, with all rows.
        kinds: what each holds.
        targets: of all rows.
        train: rows that the trees are fitted on.
        held_out: rows that they are scored on.
    """
    train, held_out = train[:MOST_ROWS], held_out[:MOST_ROWS]
    if len(held_out) < LEAST_ROWS:
        return []
    giveaways = []
    labels = (
        dict(zip(targets.labels, targets.values.T, strict=True)) if targets.labels else {"": targets.values}
    )
    score_of = _r2_score if targets.task == "regression" else _accuracy
    for column, kind in zip(columns, kinds, strict=True):
        if not kind.is_encoded:
            continue
        inputs = _codes(column, kind.kind)[:, None]
        for label, values in labels.items():
            score = score_of(inputs, values, train, held_out)
            if score > NEAR_PERFECT:
                giveaways.append(Giveaway(column.name, score, len(held_out), label))
    return sorted(giveaways, key=lambda giveaway: -giveaway.score)


def _codes(column: RawColumn, kind: str) -> Floats:
    """Return one number for each row: the number itself, the date in seconds, or the index of the text."""
    if kind == "number":
        return column.numbers()
    if kind == "date" and column.are_dates():
        dates = column.dates(None)
        return np.where(np.isnat(dates), np.nan, dates.astype(np.int64).astype(np.float64))
    return column.texts()[0].astype(np.float64)


def _accuracy(inputs: Floats, labels: NDArray[Any], train: Rows, held_out: Rows) -> float:
    true = labels[held_out]
    if len(np.unique(true)) < 2:
        return 0.0
    tree = DecisionTreeClassifier(min_samples_leaf=LEAF, class_weight="balanced", random_state=0)
    predicted = tree.fit(inputs[train], labels[train]).predict(inputs[held_out])
    # balanced_accuracy_score, which warns of predicted classes that are not among the true ones
    balanced = recall_score(true, predicted, labels=np.unique(true), average="macro")
    return min(float(balanced), float(np.mean(true == predicted)))


def _r2_score(inputs: Floats, values: NDArray[Any], train: Rows, held_out: Rows) -> float:
    true = values[held_out]
    tree = DecisionTreeRegressor(min_samples_leaf=LEAF, random_state=0)
    tree.fit(inputs[train], values[train])
    scores = [_r2(true, tree.predict(inputs[held_out]))]
    if not np.isnan(inputs).any():  # the target in another unit is a line, which a tree's steps only approach
        line = LinearRegression().fit(inputs[train], values[train])
        scores.append(_r2(true, line.predict(inputs[held_out])))
    return max(scores)


def _r2(true: NDArray[np.float32], predicted: Floats) -> float:
    """Return the highest R² of the targets, without those that have only one value."""
    each = r2_score(true, predicted.reshape(len(true), -1), multioutput="raw_values")
    return float(np.max(each, where=np.ptp(true.reshape(len(true), -1), axis=0) > 0, initial=0.0))
