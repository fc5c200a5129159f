"""The training and evaluation data of K runs, on one device."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlpkit.config.loss import LossConfig
from mlpkit.config.metric import MetricConfig
from mlpkit.data.augment import Augmentation
from mlpkit.data.dataset import Dataset, Split
from mlpkit.engines.batches import Rows
from mlpkit.metrics import add_up
from mlpkit.models.torch_layers import Unscaling
from mlpkit.models.torch_network import Network
from mlpkit.tasks import Task

EVALUATION_ROWS = 8192  # rows per forward pass in evaluation, over all runs
MAX_CACHED = 4_000_000  # elements; larger selections of rows are not cached

# (1 + statistics + metrics,) for K = 1, else (1 + statistics + metrics, K); see `mlpkit.metrics`.
Sums = Sequence[float] | np.ndarray[Any, np.dtype[np.float64]]


@dataclass
class Part:
    """A split of K runs, as row indices into one table of N rows.

    Attributes:
        inputs: (N, features), scaled; or raw if they are augmented.
        scaled: (N, …), encoded targets for the loss, standardised like the network's outputs.
        targets: (N, …), the targets for scores, in their own units; see `Task.truth`.
        indices: (K, rows), each run's row indices into the table; None if all runs use the whole table.
        rows: the number of rows in the split.
    """

    inputs: Tensor
    scaled: Tensor
    targets: Tensor
    indices: Tensor | None
    rows: int


class DeviceData:
    """All splits of K runs.

    A table that runs share is stored once, and each run has its row indices into it. If runs have different
    tables, or scale them differently, the tables are concatenated, again with row indices for each run.

    Attributes:
        splits: the splits by name.
        runs: K.
        augmentation: augments raw training inputs; None without augmentation.
        networks: the runs' networks, which scale inputs and targets.
        task: the task of all runs.
        loss: the loss of all runs.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        datasets: Sequence[Dataset],
        task: Task,
        loss: LossConfig,
        device: str,
        augmentation: Augmentation | None = None,
        metrics: Sequence[MetricConfig] = (),
    ) -> None:
        """Scale all rows and move them to the device, so that a step only selects rows.

        Args:
            networks: the runs' networks.
            datasets: the runs' datasets, of equal shapes; runs that share one pass the same object.
            task: the task of all runs.
            loss: the loss of all runs.
            device: cpu or cuda:N.
            augmentation: the augmentation of all runs.
            metrics: the metrics of all runs.
        """
        self.networks, self.task, self.loss, self.device = list(networks), task, loss, device
        self.runs, self.augmentation, self.metrics = len(networks), augmentation, metrics
        self.dtype = next(networks[0].parameters()).dtype
        first = datasets[0]
        self.width = first.input_schema.width
        different = list({id(dataset): dataset for dataset in datasets}.values())
        network_of = {id(dataset): network for network, dataset in zip(networks, datasets, strict=True)}
        self.splits: dict[str, Part] = {}
        tables: dict[int, Part] = {}
        for name, split in first.splits.items():
            is_raw = name == "train" and augmentation is not None
            splits = [dataset.splits[name] for dataset in different]
            if len(different) == 1:
                self.splits[name] = self._part(networks[0], split.inputs, split.targets, is_raw)
            elif _is_one_table(different, splits):
                key = id(split.all_inputs) + is_raw
                if key not in tables:
                    tables[key] = self._part(networks[0], split.all_inputs, split.all_targets, is_raw)
                indices = torch.stack([_row_indices(dataset.splits[name], device) for dataset in datasets])
                self.splits[name] = replace(tables[key], indices=indices, rows=len(split))
            else:
                parts = [
                    self._part(network_of[id(dataset)], of.inputs, of.targets, is_raw)
                    for dataset, of in zip(different, splits, strict=True)
                ]
                inputs, scaled, targets = (torch.cat([getattr(of, kind) for of in parts]) for kind in _FIELDS)
                table_of = {id(dataset): index for index, dataset in enumerate(different)}
                table = torch.tensor([table_of[id(dataset)] for dataset in datasets], device=device)
                indices = table[:, None] * len(split) + torch.arange(len(split), device=device)
                self.splits[name] = Part(inputs, scaled, targets, indices, len(split))
        self._unscaling = self._unscaling_of_runs()
        self._clear_cache()

    def _part(self, network: Network, inputs: Tensor, targets: Tensor, is_raw: bool) -> Part:
        inputs = inputs.to(self.device, self.dtype)
        encoded = self.task.encode(targets.to(self.device), self.dtype)
        with torch.no_grad():
            scaled = inputs if is_raw else network.scaling(inputs)
        return Part(scaled, network.standardize(encoded), self.task.truth(encoded), None, len(inputs))

    def _unscaling_of_runs(self) -> Callable[[Tensor], Tensor] | None:
        """Return the function that unscales outputs (rows, targets), or (K, rows, targets), of all runs."""
        layers = [of.unscaling for of in self.networks if isinstance(of.unscaling, Unscaling)]
        if not layers:
            return None
        return (layers[0] if len(layers) == 1 else layers[0].stacked_with(layers[1:])).function()

    def _clear_cache(self) -> None:
        """Drop the selected rows of each split; `all_rows` selects them again when they are needed."""
        self._cache: dict[tuple[str, str], Tensor] = {}

    def select_runs(self, runs: Sequence[int]) -> "DeviceData":
        """Return the data of some runs; the tables are shared, not copied."""
        selected = copy.copy(self)
        selected.networks, selected.runs = [self.networks[run] for run in runs], len(runs)
        selected.splits = {
            name: part if part.indices is None else replace(part, indices=part.indices[list(runs)])
            for name, part in self.splits.items()
        }
        selected._unscaling = selected._unscaling_of_runs()
        selected._clear_cache()
        return selected

    @property
    def rows(self) -> int:
        """The number of rows in the training split."""
        return self.splits["train"].rows

    @property
    def shares_inputs(self) -> bool:
        """Whether all runs train on the same rows."""
        return self.splits["train"].indices is None

    # ------------------------------------------------------------------------------------------ rows

    def table_rows(self, rows: Rows) -> Rows:
        """Return the indices in the table of training rows (K, n); (n,) where K = 1."""
        indices = self.splits["train"].indices
        if indices is None or isinstance(rows, slice):
            return rows
        return indices[0][rows] if self.runs == 1 else indices.gather(1, rows)

    def pick(self, values: Tensor, rows: Tensor, out: Tensor) -> None:
        """Write the rows of a table (N, …) with indices (K, n) to `out` (K, n, …)."""
        if self.runs == 1:
            torch.index_select(values, 0, rows, out=out)
        else:
            torch.index_select(values, 0, rows.reshape(-1), out=out.view(-1, *values.shape[1:]))

    def expected(self) -> Tensor:
        """Return the expected outputs (N, width) of the training table; see `LossConfig.expected`."""
        train = self.splits["train"]
        return self.loss.expected(train.scaled, self.width, self.dtype)

    def all_rows(self, split: str, kind: str, values: Tensor | None = None) -> Tensor:
        """Return all rows of a split: (rows, …) if all runs share them, else (K, rows, …).

        Args:
            split: the split's name.
            kind: inputs, scaled or targets; with `values`, a name for them in the cache.
            values: a table (N, …) to select from instead of the split's own.
        """
        part = self.splits[split]
        values = getattr(part, kind) if values is None else values
        if part.indices is None:
            return values
        if (split, kind) not in self._cache:
            found = values[part.indices[0] if self.runs == 1 else part.indices]
            if found.numel() > MAX_CACHED:
                return found
            self._cache[split, kind] = found
        return self._cache[split, kind]

    def inputs_of(self, split: str, start: int, stop: int) -> Tensor:
        """Return the scaled inputs (n, features) or (K, n, features) of rows start to stop of a split."""
        part, rows = self.splits[split], slice(start, stop)
        if part.indices is None:
            inputs = part.inputs[rows]
        elif self._is_small(part):
            inputs = self.all_rows(split, "inputs")[..., rows, :]
        else:
            inputs = part.inputs[part.indices[0, rows] if self.runs == 1 else part.indices[:, rows]]
        if split == "train" and self.augmentation is not None:
            with torch.no_grad():
                inputs = self.networks[0].scaling(inputs)
        return inputs

    def is_cached(self, split: str) -> bool:
        """Whether `inputs_of` returns the same memory at each call."""
        part = self.splits[split]
        if split == "train" and self.augmentation is not None:
            return False
        return part.indices is None or self._is_small(part)

    def _is_small(self, part: Part) -> bool:
        """Whether the selected inputs of all runs are small enough to be cached; see `all_rows`."""
        return self.runs * part.rows * part.inputs.shape[1] <= MAX_CACHED

    def augment(self, inputs: Tensor, randoms: Sequence[torch.Generator]) -> Iterator[Tensor]:
        """Yield each run's augmented and scaled inputs (n, features), given raw inputs (K, n, features)."""
        assert self.augmentation is not None
        each = inputs.expand(self.runs, -1, -1) if inputs.dim() == 2 else inputs
        for network, raw, random in zip(self.networks, each, randoms, strict=True):
            yield network.scaling(self.augmentation(raw, random))

    # ---------------------------------------------------------------------------------------- scores

    def targets_of(self, split: str, kind: str, rows: Rows) -> Tensor:
        """Return the targets (K · n, …) of rows with indices (K, n) in the table, or of the whole split."""
        if not isinstance(rows, slice):
            return getattr(self.splits[split], kind)[rows.reshape(-1)]  # type: ignore[no-any-return]
        whole, part = self.all_rows(split, kind), self.splits[split]
        if self.runs == 1:
            return whole
        if part.indices is not None:
            return whole.flatten(0, 1)
        key = split, f"repeated {kind}"
        if key not in self._cache:
            self._cache[key] = whole.repeat(self.runs, *[1] * (whole.dim() - 1))
        return self._cache[key]

    def scaled_of(self, run: int, rows: Rows) -> Tensor:
        """Return one run's scaled targets (n, …) of training rows with indices (K, n), or of all."""
        train = self.splits["train"]
        if isinstance(rows, Tensor):
            return train.scaled[rows if self.runs == 1 else rows[run]]
        whole = self.all_rows("train", "scaled")
        return whole if self.runs == 1 or train.indices is None else whole[run]

    def losses(self, outputs: Tensor, split: str, rows: Rows) -> Tensor:
        """Return the losses (K, n) of outputs (K, n, width) for some rows; see `targets_of`."""
        scaled = self.targets_of(split, "scaled", rows)
        return self.loss.per_example(outputs.reshape(-1, self.width), scaled).view(outputs.shape[:-1])

    def sums(self, outputs: Tensor, split: str, rows: Rows) -> Sums:
        """Return the sums of losses and statistics, and the metrics, of outputs (K, n, width)."""
        unscaled = outputs if self._unscaling is None else self._unscaling(outputs)
        targets = self.targets_of(split, "targets", rows)
        losses = self.losses(outputs, split, rows)
        # Contiguous, since argmax over strided values takes four times as long.
        flat = unscaled.reshape(-1, self.width).contiguous()
        statistics = self.task.statistics(flat, targets)
        if self.runs == 1:
            return add_up(losses, statistics) + self.task.compute(self.metrics, flat, targets)
        columns = [losses, *(values.view(losses.shape) for values in statistics)]
        # Counting takes half the time of adding up in float64.
        sums = (of.sum(1) if of.dtype == torch.bool else of.sum(1, dtype=torch.float64) for of in columns)
        found: np.ndarray[Any, np.dtype[np.float64]] = torch.stack([of.double() for of in sums]).cpu().numpy()
        if not self.metrics:
            return found
        pairs = zip(flat.chunk(self.runs), targets.chunk(self.runs), strict=True)
        return np.concatenate((found, np.transpose([self.task.compute(self.metrics, *of) for of in pairs])))


_FIELDS = ("inputs", "scaled", "targets")


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
