"""Splits rows at random, with about the same share of each class in every part."""

import torch
from torch import Tensor

from mlpkit.config.problems import plural
from mlpkit.data.randomness import generator
from mlpkit.errors import ConfigError


def random_split(
    rows: int, seed: int, val_fraction: float, test_fraction: float = 0.0, labels: Tensor | None = None
) -> dict[str, Tensor]:
    """Split rows into train, val and test at random; the seed decides how.

    Args:
        rows: the number of rows.
        seed: the seed.
        val_fraction: fraction of the rows for validation.
        test_fraction: fraction of the rows for testing.
        labels: the labels of all rows (rows,), int64, for a stratified split; None: not stratified.

    Returns:
        The indices of the rows of each split that has any.

    Raises:
        ConfigError: a split that is asked for would be empty.
    """
    sizes = {"val": round(rows * val_fraction), "test": round(rows * test_fraction)}
    sizes = {"train": rows - sum(sizes.values()), **sizes}
    fractions = {"train": 1.0, "val": val_fraction, "test": test_fraction}
    for name, size in sizes.items():
        if size < 1 and fractions[name] > 0:
            raise ConfigError(
                f"dataset: val_fraction={val_fraction} and test_fraction={test_fraction} of "
                f"{plural(rows, 'row')} leave no row to {name}; change the fractions or have more rows"
            )
    order = torch.randperm(rows, generator=generator(seed, "split"))
    if labels is not None:
        order = interleave_classes(order, labels)
    parts = torch.split(order, list(sizes.values()))
    return {name: part for name, part in zip(sizes, parts, strict=True) if len(part)}


def interleave_classes(order: Tensor, labels: Tensor) -> Tensor:
    """Reorder rows so that any contiguous part of them has about the same class proportions.

    Args:
        order: shuffled row indices.
        labels: the labels of all rows.
    """
    grouped = order[torch.argsort(labels[order], stable=True)]
    counts = torch.bincount(labels[order]).tolist()
    # The k-th of a class's n rows gets the relative position (k + ½) / n.
    positions = torch.cat(
        [(torch.arange(count, dtype=torch.float64) + 0.5) / count for count in counts if count]
    )
    return grouped[torch.argsort(positions, stable=True)]
