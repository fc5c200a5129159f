"""Warns of classes that cannot be learned, or whose predictions cannot be scored."""

from collections.abc import Mapping

import numpy as np

from mlpkit.config.problems import spell
from mlpkit.data.column_values import Where
from mlpkit.data.table_splits import Rows
from mlpkit.data.table_targets import Targets

MOST_NAMED = 3


def rare_classes(targets: Targets, rows_by_split: Mapping[str, Rows], where: Where) -> list[str]:
    """Return a warning about classes or labels without a training row, and one about those with one row only.

    Args:
        targets: of all rows.
        rows_by_split: the rows of each split.
        where: how a line names a row.
    """
    names, what = targets.classes or targets.labels, "class" if targets.classes else "label"
    if not names:
        return []
    rows = np.sort(np.concatenate(list(rows_by_split.values())))
    in_all, in_train = targets.counts(rows), targets.counts(rows_by_split["train"])

    def named(places: Rows) -> str:
        first = [
            f" ({where(targets.first(place, rows))})" if in_all[place] else ""
            for place in places[:MOST_NAMED]
        ]
        shown = [f"{spell(names[place])}{row}" for place, row in zip(places, first, strict=False)]
        more = [f"{len(places) - len(shown):,} more"] if len(places) > len(shown) else []
        return ", ".join([*shown, *more])

    lines = []
    is_absent = (in_train == 0) & ((in_all > 0) | bool(targets.labels))
    if len(unknown := np.flatnonzero(is_absent)):
        lines.append(
            f"warning: no training row has the {what} {named(unknown)}, so it is never predicted; add rows "
            "of it, remove them, or change dataset.split"
        )
    if len(single := np.flatnonzero((in_all == 1) & (in_train == 1))):
        lines.append(
            f"warning: one row alone has the {what} {named(single)}: it is trained on, and no row is left "
            "that scores it; add rows of it"
        )
    return lines
