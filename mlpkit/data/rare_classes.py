"""Warns of classes that are too rare to be learned or scored."""

from collections.abc import Mapping

import numpy as np

from mlpkit.config.problems import spell
from mlpkit.data.column_values import Locate
from mlpkit.data.table_splits import Rows
from mlpkit.data.table_targets import Targets

MOST_NAMED = 3


def rare_classes(targets: Targets, rows_by_split: Mapping[str, Rows], locate: Locate) -> list[str]:
    """Return a warning of classes (or labels) without training rows, and one of those with a single row.

    Args:
        targets: the targets of all rows.
        rows_by_split: the rows of each split.
        locate: names a row in a message.
    """
    names, what = targets.classes or targets.labels, "class" if targets.classes else "label"
    if not names:
        return []
    rows = np.sort(np.concatenate(list(rows_by_split.values())))
    in_all, in_train = targets.counts(rows), targets.counts(rows_by_split["train"])

    def describe(labels: Rows) -> str:
        shown = [spell(names[label]) + first_row(label) for label in labels[:MOST_NAMED]]
        more = [f"{len(labels) - len(shown):,} more"] if len(labels) > len(shown) else []
        return ", ".join([*shown, *more])

    def first_row(label: int) -> str:
        return f" ({locate(targets.first(label, rows))})" if in_all[label] else ""

    lines = []
    is_untrained = (in_train == 0) & ((in_all > 0) | bool(targets.labels))
    if len(unknown := np.flatnonzero(is_untrained)):
        lines.append(
            f"warning: no training row has the {what} {describe(unknown)}, so it is never predicted; "
            "add rows of it, remove them, or change dataset.split"
        )
    if len(single := np.flatnonzero((in_all == 1) & (in_train == 1))):
        lines.append(
            f"warning: only one row has the {what} {describe(single)}: it is a training row, and none is "
            "left to score it; add rows of it"
        )
    return lines
