"""Warns of classes that cannot be learned, or whose predictions cannot be scored."""

from collections.abc import Mapping

import numpy as np

from mlpkit.config.problems import spell
from mlpkit.data.column_values import Where
from mlpkit.data.table_splits import Rows
from mlpkit.data.table_targets import Targets

MOST_NAMED = 3


def rare_classes(targets: Targets, dealt: Mapping[str, Rows], where: Where) -> list[str]:
    """Return a warning about classes without a training row, and one about classes with one row only.

    Args:
        targets: of all rows.
        dealt: the rows of each split.
        where: how a line names a row.
    """
    if not targets.classes:
        return []
    rows = np.sort(np.concatenate(list(dealt.values())))
    count = len(targets.classes)
    in_all, in_train = (np.bincount(targets.values[of], minlength=count) for of in (rows, dealt["train"]))

    def named(labels: Rows) -> str:
        shown = [
            f"{spell(targets.classes[label])} ({where(int(rows[targets.values[rows] == label][0]))})"
            for label in labels[:MOST_NAMED]
        ]
        more = [f"{len(labels) - len(shown):,} more"] if len(labels) > len(shown) else []
        return ", ".join([*shown, *more])

    lines = []
    if len(unknown := np.flatnonzero((in_train == 0) & (in_all > 0))):
        lines.append(
            f"warning: no training row has the class {named(unknown)}, so it is never predicted; add rows of "
            "it, remove them, or change dataset.split"
        )
    if len(single := np.flatnonzero((in_all == 1) & (in_train == 1))):
        lines.append(
            f"warning: one row alone has the class {named(single)}: it is trained on, and no row is left "
            "that scores it; add rows of it"
        )
    return lines
