"""Counts validation and test rows that also occur among the training rows."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlpkit.data.dataset import Split

MOST_ROWS = 2_000_000  # of all splits; comparing them takes a second or two


def overlaps(
    splits: Mapping[str, Split], kind: Literal["row", "picture"] = "row", way: str = ""
) -> list[str]:
    """Return a warning for each split that shares rows with the training split.

    Rows are equal if their encoded inputs and their targets are. Pictures are equal if their pixels are,
    whatever their classes.

    Args:
        splits: the splits of one dataset.
        kind: what the rows are: rows of a table, or pictures.
        way: more advice, appended to that of removing the rows.
    """
    rows = sum(map(len, splits.values()))
    if rows > MOST_ROWS:
        return [f"{kind}s that occur in two splits are not searched for in more than {MOST_ROWS:,} {kind}s"]
    lines = []
    for name, again in repeated(splits, kind).items():
        split = splits[name]
        if again:
            lines.append(
                f"warning: {again:,} of {len(split):,} {name} {kind}s are equal to a training {kind}, so its "
                f"scores are too good; remove repeated {kind}s{way}"
            )
    return lines


def repeated(splits: Mapping[str, Split], kind: Literal["row", "picture"] = "row") -> dict[str, int]:
    """Return for each split of other rows than train the number of those that are equal to a training row."""
    known = _keys(splits["train"], kind)
    others = (name for name in splits if name != "train" and not splits[name].folds)
    return {name: int(np.isin(_keys(splits[name], kind), known).sum()) for name in others}


def _keys(split: Split, kind: str) -> NDArray[np.int64]:
    """Return a 64-bit hash of each row; two different rows share one with probability 10^-19."""
    inputs, targets = split.inputs.numpy(), split.targets.numpy()
    if kind == "picture":
        keys = (hash(row.tobytes()) for row in inputs)
    else:
        pairs = zip(inputs, targets, strict=True)
        keys = (hash(row.tobytes() + target.tobytes()) for row, target in pairs)
    return np.fromiter(keys, np.int64, len(split))
