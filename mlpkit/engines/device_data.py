"""The rows that K runs train on and are scored on, on their device."""

import copy
from collections.abc import Iterator, Sequence
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

EVALUATION_ROWS = 8192  # rows of a forward pass without gradients, of all runs together
SMALL = 4_000_000  # numbers that are kept in every arrangement that steps and scores want

# (1 + statistics + metrics), each one number, or with an axis K behind: see `mlpkit.metrics`.
Sums = Sequence[float] | np.ndarray[Any, np.dtype[np.float64]]


@dataclass
class Part:
    """A split of K runs: rows of one table.

    Attributes:
        inputs: (N, features) of the table; scaled, unless augmentation wants them raw.
        scaled: (N, …) targets, encoded by the task, in the unit of the layers' outputs: the loss's.
        targets: (N, …) in their own unit: what scores compare; see `Task.truth`.
        indices: (K, rows), where in the table each run's rows lie; None where all runs have all of its rows.
        rows: of the split.
    """

    inputs: Tensor
    scaled: Tensor
    targets: Tensor
    indices: Tensor | None
    rows: int


class DeviceData:
    """All splits of K runs, for the whole training.

    What runs share is held once. Runs whose splits are other rows of one table, scaled alike, have lists of
    rows; runs with tables of their own have these one below the other, with lists likewise.

    Attributes:
        splits: by name.
        runs: K.
        augmentation: changes raw training inputs, or None.
        networks: of the runs; they scale.
        task: of all runs.
        loss: likewise.
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
        """Move the rows to the device, already scaled, so that a step picks them and does nothing else.

        Args:
            networks: of the runs.
            datasets: of each, with equal shapes; the same object where runs share it.
            task: of all of them.
            loss: likewise.
            device: cpu or cuda:N.
            augmentation: of all of them.
            metrics: likewise.
        """
        self.networks, self.task, self.loss, self.device = list(networks), task, loss, device
        self.runs, self.augmentation, self.metrics = len(networks), augmentation, metrics
        self.dtype = next(networks[0].parameters()).dtype
        self.width = datasets[0].input_schema.width
        first = datasets[0]
        different = list({id(dataset): dataset for dataset in datasets}.values())
        network_of = {id(dataset): network for network, dataset in zip(networks, datasets, strict=True)}
        self.splits: dict[str, Part] = {}
        tables: dict[int, Part] = {}
        for name, split in first.splits.items():
            is_raw = name == "train" and augmentation is not None
            theirs = [dataset.splits[name] for dataset in different]
            if len(different) == 1:
                self.splits[name] = self._part(networks[0], split.inputs, split.targets, is_raw)
            elif _is_one_table(different, theirs):
                key = id(split.all_inputs) + is_raw
                if key not in tables:
                    tables[key] = self._part(networks[0], split.all_inputs, split.all_targets, is_raw)
                indices = torch.stack([_row_indices(dataset.splits[name], device) for dataset in datasets])
                self.splits[name] = replace(tables[key], indices=indices, rows=len(split))
            else:
                parts = [
                    self._part(network_of[id(dataset)], of.inputs, of.targets, is_raw)
                    for dataset, of in zip(different, theirs, strict=True)
                ]
                inputs, scaled, targets = (torch.cat([getattr(of, kind) for of in parts]) for kind in _FIELDS)
                number = {id(dataset): index for index, dataset in enumerate(different)}
                table = torch.tensor([number[id(dataset)] for dataset in datasets], device=device)
                indices = table[:, None] * len(split) + torch.arange(len(split), device=device)
                self.splits[name] = Part(inputs, scaled, targets, indices, len(split))
        self._unscaling = self._affine()
        self._clear_cache()

    def _part(self, network: Network, inputs: Tensor, targets: Tensor, is_raw: bool) -> Part:
        inputs = inputs.to(self.device, self.dtype)
        encoded = self.task.encode(targets.to(self.device), self.dtype)
        with torch.no_grad():
            scaled = inputs if is_raw else network.scaling(inputs)
        return Part(scaled, network.standardize(encoded), self.task.truth(encoded), None, len(inputs))

    def _affine(self) -> tuple[Tensor, Tensor] | None:
        """Return (std, mean), each (targets) or (K, 1, targets), that bring outputs to the targets' unit."""
        ends = [network.unscaling for network in self.networks]
        affine = [end for end in ends if isinstance(end, Unscaling)]
        if not affine:
            return None
        if self.runs == 1:
            return affine[0].std, affine[0].mean
        std, mean = (torch.stack([getattr(of, name) for of in affine]) for name in ("std", "mean"))
        return std[:, None], mean[:, None]

    def _clear_cache(self) -> None:
        """Forget arrangements of rows; they are made again when they are wanted."""
        self._cache: dict[tuple[str, str], Tensor] = {}

    def select_runs(self, runs: Sequence[int]) -> "DeviceData":
        """Return the data of some of the runs; the tables are the same."""
        found = copy.copy(self)
        found.networks, found.runs = [self.networks[run] for run in runs], len(runs)
        found.splits = {
            name: part if part.indices is None else replace(part, indices=part.indices[list(runs)])
            for name, part in self.splits.items()
        }
        found._unscaling = found._affine()
        found._clear_cache()
        return found

    @property
    def rows(self) -> int:
        """Rows of the training split."""
        return self.splits["train"].rows

    @property
    def shares_inputs(self) -> bool:
        """Whether all runs train on the same rows."""
        return self.splits["train"].indices is None

    # ------------------------------------------------------------------------------------------ rows

    def table_rows(self, rows: Rows) -> Rows:
        """Return where in the table some training rows (K, n) lie; (n,) where K = 1."""
        indices = self.splits["train"].indices
        if indices is None or isinstance(rows, slice):
            return rows
        return indices[0][rows] if self.runs == 1 else indices.gather(1, rows)

    def pick(self, values: Tensor, rows: Tensor, out: Tensor) -> None:
        """Write rows of a table (N, …), given by their indices (K, n), to `out` (K, n, …)."""
        if self.runs == 1:
            torch.index_select(values, 0, rows, out=out)
        else:
            torch.index_select(values, 0, rows.reshape(-1), out=out.view(-1, *values.shape[1:]))

    def expected(self) -> Tensor:
        """Return (N, width) of the training table: what the gradient by hand compares outputs with."""
        train = self.splits["train"]
        return self.loss.expected(train.scaled, self.width, self.dtype)

    def all_rows(self, split: str, kind: str, values: Tensor | None = None) -> Tensor:
        """Return all rows of a split: (rows, …) where all runs share them, else (K, rows, …).

        Args:
            split: its name.
            kind: inputs, scaled or targets; a name for `values`, where these are given.
            values: a table (N, …) to take instead of the split's own.
        """
        part = self.splits[split]
        values = getattr(part, kind) if values is None else values
        if part.indices is None:
            return values
        if (split, kind) not in self._cache:
            found = values[part.indices[0] if self.runs == 1 else part.indices]
            if found.numel() > SMALL:
                return found
            self._cache[split, kind] = found
        return self._cache[split, kind]

    def inputs_of(self, split: str, start: int, stop: int) -> Tensor:
        """Return scaled inputs (n, features) or (K, n, features) of some rows of a split."""
        part = self.splits[split]
        if part.indices is None:
            inputs = part.inputs[start:stop]
        elif self._is_small(part):
            inputs = self.all_rows(split, "inputs")[..., start:stop, :]
        else:
            inputs = part.inputs[
                part.indices[0, start:stop] if self.runs == 1 else part.indices[:, start:stop]
            ]
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
        """Whether the inputs of all runs' rows are kept once they have been picked; see `all_rows`."""
        return self.runs * part.rows * part.inputs.shape[1] <= SMALL

    def augment(self, inputs: Tensor, randoms: Sequence[torch.Generator]) -> Iterator[Tensor]:
        """Yield for each run scaled inputs (n, features) of raw ones (K, n, features), changed at random."""
        assert self.augmentation is not None
        each = inputs.expand(self.runs, -1, -1) if inputs.dim() == 2 else inputs
        for network, own, random in zip(self.networks, each, randoms, strict=True):
            yield network.scaling(self.augmentation(own, random))

    # ---------------------------------------------------------------------------------------- scores

    def targets_of(self, split: str, kind: str, rows: Rows) -> Tensor:
        """Return targets (K · n, …) of rows of the table (K, n), or of all rows of the split."""
        if not isinstance(rows, slice):
            return getattr(self.splits[split], kind)[rows.reshape(-1)]  # type: ignore[no-any-return]
        whole, part = self.all_rows(split, kind), self.splits[split]
        if self.runs == 1:
            return whole
        if part.indices is not None:
            return whole.flatten(0, 1)
        key = split, f"{kind} of all"
        if key not in self._cache:
            self._cache[key] = whole.repeat(self.runs, *[1] * (whole.dim() - 1))
        return self._cache[key]

    def scaled_of(self, run: int, rows: Rows) -> Tensor:
        """Return one run's targets (n, …) of training rows of the table (K, n), or of all."""
        train = self.splits["train"]
        if isinstance(rows, Tensor):
            return train.scaled[rows if self.runs == 1 else rows[run]]
        whole = self.all_rows("train", "scaled")
        return whole if self.runs == 1 or train.indices is None else whole[run]

    def losses(self, outputs: Tensor, split: str, rows: Rows) -> Tensor:
        """Return losses (K, n) of outputs (K, n, width) of some rows; see `targets_of`."""
        scaled = self.targets_of(split, "scaled", rows)
        return self.loss.per_example(outputs.reshape(-1, self.width), scaled).view(outputs.shape[:-1])

    def sums(self, outputs: Tensor, split: str, rows: Rows) -> Sums:
        """Return sums of losses and statistics, then metrics, of outputs (K, n, width); see `targets_of`."""
        unscaled = outputs
        if self._unscaling is not None:
            std, mean = self._unscaling
            unscaled = outputs * std + mean
        targets = self.targets_of(split, "targets", rows)
        losses = self.losses(outputs, split, rows)
        # Rows in one piece, since the largest of strided values takes four times as long to find.
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
    """Whether splits are rows of one table, which is scaled alike for all."""
    first = datasets[0]
    return all(split.all_inputs is splits[0].all_inputs for split in splits) and all(
        dataset.input_scaling is first.input_scaling and dataset.target_scaling is first.target_scaling
        for dataset in datasets
    )


def _row_indices(split: Split, device: str) -> Tensor:
    if isinstance(split.rows, Tensor):
        return split.rows.to(device)
    return torch.arange(*split.rows.indices(len(split.all_inputs)), device=device)
