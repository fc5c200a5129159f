"""Counts rows of the validation and test splits that are training rows as well."""

from collections.abc import Iterator, Mapping

from mlpkit.data.dataset import Split

MOST_NUMBERS = 50_000_000  # of all splits; larger ones take too long to be looked through


def overlaps(splits: Mapping[str, Split]) -> list[str]:
    """Return a warning for each split that shares rows with the training split.

    Rows are equal where their inputs and their targets are, as the model reads them.
    """
    if sum(len(split) for split in splits.values()) * splits["train"].all_inputs.shape[1] > MOST_NUMBERS:
        return []
    known = set(_rows(splits["train"]))
    lines = []
    for name, split in splits.items():
        if name == "train":
            continue
        again = sum(row in known for row in _rows(split))
        if again:
            lines.append(
                f"warning: {again:,} of {len(split):,} {name} rows are equal to a training row, so its "
                "scores are too good; remove repeated rows, or keep them together with dataset.split.by=group"
            )
    return lines


def _rows(split: Split) -> Iterator[bytes]:
    """Yield what each row's inputs and targets are made of."""
    targets = split.targets.numpy()
    return (
        row.tobytes() + target.tobytes() for row, target in zip(split.inputs.numpy(), targets, strict=True)
    )
