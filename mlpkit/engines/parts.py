"""Lays out the splits of K runs on one device, as row indices into tables that the runs share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlpkit.data.dataset import Dataset, Split
from mlpkit.data.weights import row_weights
from mlpkit.engines.experiment import Experiment


@dataclass
class Part:
    """A split of K runs, as row indices into one table of N rows.

    Attributes:
        inputs: (N, features), scaled; or raw if they are augmented.
        scaled: (N, …), encoded targets for the loss, standardised like the network's outputs.
        targets: (N, …), the targets for scores, in their own units; see `Task.truth`.
        indices: (K, rows), each run's row indices into the table; None if all runs use the whole table.
        rows: the number of rows in the split.
        weights: (1, N) or (K, N), how much each row counts in the loss, each run's with the mean 1 over the
            split; None if all count the same.
    """

    inputs: Tensor
    scaled: Tensor
    targets: Tensor
    indices: Tensor | None
    rows: int
    weights: Tensor | None = None

    def of_runs(self, runs: Sequence[int]) -> "Part":
        """Return the part of some runs, which have indices; the table is shared, not copied."""
        assert self.indices is not None
        each = self.weights is not None and len(self.weights) > 1
        weights = self.weights[list(runs)] if each and self.weights is not None else self.weights
        return replace(self, indices=self.indices[list(runs)], weights=weights)


def parts_of(experiments: Sequence[Experiment], device: str, augmented: bool) -> dict[str, Part]:
    """Return the splits of some runs by name.

    A table that the runs share is stored once. If they have different tables, or scale them differently, the
    tables are concatenated.

    Args:
        experiments: the runs, whose datasets have equal shapes; runs that share one have the same object.
        device: cpu or cuda:N.
        augmented: whether the training inputs stay raw, to be augmented at every step.
    """
    different = list({id(experiment.dataset): experiment for experiment in experiments}.values())
    datasets = [experiment.dataset for experiment in different]
    by_split: dict[str, Part] = {}
    tables: dict[int, Part] = {}
    for name, split in datasets[0].splits.items():
        is_raw = name == "train" and augmented
        splits = [dataset.splits[name] for dataset in datasets]
        if len(different) == 1:
            by_split[name] = _part(different[0], split, device, is_raw)
        elif _is_one_table(datasets, splits):
            key = id(split.all_inputs) + is_raw
            if key not in tables:
                tables[key] = _part(different[0], Split(split.all_inputs, split.all_targets), device, is_raw)
            pairs = [(experiment, experiment.dataset.splits[name]) for experiment in experiments]
            indices = torch.stack([_row_indices(own, device) for _, own in pairs])
            of_runs = [_weights(experiment, own, device) for experiment, own in pairs]
            weights = [own for own in of_runs if own is not None]  # all or none; see `group_key`
            by_split[name] = replace(
                tables[key],
                indices=indices,
                rows=len(split),
                weights=torch.stack(weights) if weights else None,
            )
        else:
            parts = [
                _part(experiment, own, device, is_raw)
                for experiment, own in zip(different, splits, strict=True)
            ]
            table_of = {id(dataset): index for index, dataset in enumerate(datasets)}
            table = torch.tensor([table_of[id(each.dataset)] for each in experiments], device=device)
            weights = [part.weights for part in parts if part.weights is not None]
            by_split[name] = Part(
                inputs=torch.cat([part.inputs for part in parts]),
                scaled=torch.cat([part.scaled for part in parts]),
                targets=torch.cat([part.targets for part in parts]),
                indices=table[:, None] * len(split) + torch.arange(len(split), device=device),
                rows=len(split),
                weights=torch.cat(weights, 1) if weights else None,
            )
    return by_split


def _part(experiment: Experiment, split: Split, device: str, is_raw: bool) -> Part:
    """Return the part of a single run: its table has only the split's rows."""
    network, task = experiment.network, experiment.task
    inputs = split.inputs.to(device, network.dtype)
    encoded = task.encode(split.targets.to(device), network.dtype)
    with torch.no_grad():
        scaled = inputs if is_raw else network.scaling(inputs)
    weights = _weights(experiment, split, device)
    if weights is not None:
        weights = weights[split.rows][None]
    standardized = network.standardize(encoded)
    return Part(scaled, standardized, task.truth(encoded), None, len(inputs), weights=weights)


def _weights(experiment: Experiment, split: Split, device: str) -> Tensor | None:
    weights = row_weights(split, experiment.class_weights)
    return None if weights is None else weights.to(device, experiment.network.dtype)


def _is_one_table(datasets: Sequence[Dataset], splits: Sequence[Split]) -> bool:
    """Whether splits are rows of one table, with the same scaling for all."""
    first = datasets[0]
    return all(split.all_inputs is splits[0].all_inputs for split in splits) and all(
        dataset.input_scaling is first.input_scaling and dataset.target_scaling is first.target_scaling
        for dataset in datasets
    )


def _row_indices(split: Split, device: str) -> Tensor:
    if isinstance(split.rows, Tensor):
        return split.rows.to(device)
    return torch.arange(*split.rows.indices(len(split.all_inputs)), device=device)
