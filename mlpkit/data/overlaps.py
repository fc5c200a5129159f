"""Counts rows of the validation and test splits that are training rows as well."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlpkit.data.dataset import Split

MOST_ROWS = 2_000_000  # of all splits, which take a second or two


def overlaps(
    splits: Mapping[str, Split], kind: Literal["row", "picture"] = "row", way: str = ""
) -> list[str]:
    """Return a warning for each split that shares rows with the training split.

    Rows are equal where their inputs and their targets are, as the model reads them; pictures where all their
    pixels are, whatever their classes.

    Args:
        splits: of one dataset.
        kind: what the rows are.
        way: what else may be done about them than to remove them.
    """
    rows = sum(map(len, splits.values()))
    if rows > MOST_ROWS:
        return [f"equal {kind}s in two splits are not looked for among more than {MOST_ROWS:,}"]
    known, lines = _keys(splits["train"], kind), []
    for name, split in splits.items():
        again = 0 if name == "train" else int(np.isin(_keys(split, kind), known).sum())
        if again:
            lines.append(
                f"warning: {again:,} of {len(split):,} {name} {kind}s are equal to a training {kind}, so its "
                f"scores are too good; remove repeated {kind}s{way}"
            )
    return lines


def _keys(split: Split, kind: str) -> NDArray[np.int64]:
    """Return a number of 64 bits for each row, which differs where the rows do but once in 10^19 pairs."""
    inputs, targets = split.inputs.numpy(), split.targets.numpy()
    if kind == "picture":
        keys = (hash(row.tobytes()) for row in inputs)
    else:
        pairs = zip(inputs, targets, strict=True)
        keys = (hash(row.tobytes() + target.tobytes()) for row, target in pairs)
    return np.fromiter(keys, np.int64, len(split))
