"""The training and evaluation data of K runs, on one device."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlpkit.data.augment import Augmentation, Draws
from mlpkit.engines.batches import Rows
from mlpkit.engines.experiment import Experiment
from mlpkit.engines.parts import Part, parts_of
from mlpkit.metrics import add_up
from mlpkit.models.torch_layers import Unscaling

EVALUATION_ROWS = 8192  # rows per forward pass in evaluation, over all runs
MAX_CACHED = 4_000_000  # elements; larger selections of rows are not cached

# (1 + statistics + metrics,) for K = 1, else (1 + statistics + metrics, K); see `mlpkit.metrics`.
Sums = Sequence[float] | np.ndarray[Any, np.dtype[np.float64]]


class DeviceData:
    """All splits of K runs.

    Each run has its row indices into tables that the runs share; see `parts_of`.

    Attributes:
        splits: the splits by name.
        runs: K.
        augmentation: augments raw training inputs; None without augmentation.
        networks: the runs' networks, which scale inputs and targets.
        task: the task of all runs.
        loss: the loss of all runs.
        width: the number of outputs of each network.
        predicted: the number of its first outputs that are predictions; see `LossConfig.ends`.
        unscaling: unscales outputs (rows, targets), or (K, rows, targets), of all runs; None without scaling.
    """

    def __init__(
        self, experiments: Sequence[Experiment], device: str, augmentation: Augmentation | None = None
    ) -> None:
        """Scale all rows and move them to the device, so that a step only selects rows.

        Args:
            experiments: the runs, whose datasets have equal shapes; runs that share one have the same object.
            device: cpu or cuda:N.
            augmentation: the augmentation of all runs.
        """
        first = experiments[0]
        self.networks, self.device = [experiment.network for experiment in experiments], device
        self.task, self.loss, self.metrics = first.task, first.loss, first.metrics
        self.runs, self.augmentation = len(experiments), augmentation
        self.dtype, self.predicted = first.network.dtype, first.dataset.input_schema.width
        self.width = self.loss.width(self.predicted)
        self.splits = parts_of(experiments, device, augmentation is not None)
        self.unscaling = self._unscaling_of_runs()
        self._clear_cache()

    def _unscaling_of_runs(self) -> Callable[[Tensor], Tensor] | None:
        """Return the function that unscales outputs (rows, targets), or (K, rows, targets), of all runs."""
        layers = [each.unscaling for each in self.networks if isinstance(each.unscaling, Unscaling)]
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
            name: part if part.indices is None else part.of_runs(runs) for name, part in self.splits.items()
        }
        selected.unscaling = selected._unscaling_of_runs()
        selected._clear_cache()
        return selected

    @property
    def views(self) -> int:
        """The number of views of an image whose mean prediction is taken; 1: the image alone."""
        return len(self.networks[0].views or (1,))

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

    def pick_weights(self, rows: Rows, out: Tensor) -> None:
        """Write the weights of training rows with table indices (K, n) to `out` (K, n)."""
        weights = self.splits["train"].weights
        assert weights is not None and not isinstance(rows, slice)
        if len(weights) == 1:
            torch.index_select(weights[0], 0, rows.reshape(-1), out=out.view(-1))
        else:
            torch.gather(weights, 1, rows, out=out)

    def expected(self) -> Tensor:
        """Return the expected outputs (N, width) of the training table; see `LossConfig.expected`."""
        train = self.splits["train"]
        return self.loss.expected(train.scaled, self.width, self.dtype)

    def input_range(self) -> Tensor:
        """Return rows (3, features) between which all training inputs are, and 0."""
        inputs = self.splits["train"].inputs
        ends = torch.stack((*torch.aminmax(inputs), inputs.new_zeros(())))
        return ends[:, None].expand(-1, inputs.shape[1])

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
        """Return the scaled inputs (n, features) or (K, n, features) of rows start to stop of a split.

        With test-time augmentation these are the rows of all views (views · n, features).
        """
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
        network = self.networks[0]
        if network.views is None:
            return inputs
        return network.views.of_rows(inputs, network.black(inputs.shape[-1]))

    def is_cached(self, split: str) -> bool:
        """Whether `inputs_of` returns the same memory at each call."""
        part = self.splits[split]
        if self.views > 1 or (split == "train" and self.augmentation is not None):
            return False
        return part.indices is None or self._is_small(part)

    def _is_small(self, part: Part) -> bool:
        """Whether the selected inputs of all runs are small enough to be cached; see `all_rows`."""
        return self.runs * part.rows * part.inputs.shape[1] <= MAX_CACHED

    def augment(self, inputs: Tensor, randoms: Sequence[Draws]) -> Iterator[Tensor]:
        """Yield each run's augmented and scaled inputs (n, features), given raw inputs (K, n, features)."""
        assert self.augmentation is not None
        each = inputs.expand(self.runs, -1, -1) if inputs.dim() == 2 else inputs
        for network, raw, random in zip(self.networks, each, randoms, strict=True):
            yield network.scaling(self.augmentation(raw, random))

    @property
    def mixes(self) -> bool:
        """Whether each training row is mixed with another of its batch (`dataset.augment.mixup`)."""
        return self.augmentation is not None and self.augmentation.options.mixup > 0

    def mixing(self, count: int, randoms: Sequence[Draws]) -> tuple[Tensor, Tensor]:
        """Draw each run's partners (K, n) and shares (K, n) for a batch of n rows."""
        assert self.augmentation is not None
        like = self.splits["train"].inputs
        drawn = [self.augmentation.mixing(count, random, like) for random in randoms]
        partners, shares = zip(*drawn, strict=True)
        return torch.stack(partners), torch.stack(shares)

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

    def weights_of(self, split: str, rows: Rows) -> Tensor | None:
        """Return the weights of rows with indices (K, n) in the table, or of the whole split.

        They are (1, n) or (K, n), or (n,) where K = 1; None if all rows count the same.
        """
        part = self.splits[split]
        if part.weights is None:
            return None
        indices = part.indices if isinstance(rows, slice) else rows.view(self.runs, -1)
        weights = part.weights
        if indices is not None and len(weights) == 1:
            weights = weights[0][indices]
        elif indices is not None:
            weights = weights.gather(1, indices)
        return weights[0] if self.runs == 1 else weights

    def losses(self, outputs: Tensor, split: str, rows: Rows) -> Tensor:
        """Return the losses (K, n), times the rows' weights, of outputs (K, n, width); see `targets_of`."""
        scaled = self.targets_of(split, "scaled", rows)
        losses = self.loss.per_example(outputs.reshape(-1, self.width), scaled)
        if self.runs > 1:
            losses = losses.view(outputs.shape[:-1])
        weights = self.weights_of(split, rows)
        return losses if weights is None else losses * weights

    def mixed_losses(self, outputs: Tensor, rows: Rows, partners: Tensor, shares: Tensor) -> Tensor:
        """Return the losses of outputs (K, n, width) for mixed targets; see `losses` and `mixing`."""
        own = self.losses(outputs, "train", rows)
        if isinstance(rows, slice):
            indices = self.splits["train"].indices
            every = torch.arange(self.rows, device=outputs.device) if indices is None else indices
            rows = every.expand(self.runs, -1)
        others = rows.reshape(self.runs, -1).gather(1, partners)
        scaled = self.targets_of("train", "scaled", others)
        losses = self.loss.per_example(outputs.reshape(-1, self.width), scaled).view(own.shape)
        weights = self.weights_of("train", rows)
        losses = losses if weights is None else losses * weights
        return losses.lerp(own, shares.view(own.shape))

    def columns(self, outputs: Tensor, split: str, rows: Rows) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return what is summed for the scores of outputs (K, n, width).

        Returns:
            The losses and each of the statistics, (K, n), or (n,) where K = 1; the unscaled predictions
            (K · n, predicted); the targets (K · n, …).
        """
        predicted = outputs if self.width == self.predicted else outputs[..., : self.predicted]
        unscaled = predicted if self.unscaling is None else self.unscaling(predicted)
        targets = self.targets_of(split, "targets", rows)
        losses = self.losses(outputs, split, rows)
        flat = unscaled.reshape(-1, self.predicted)
        columns = [losses, *self.task.statistics(flat, targets)]
        if self.runs > 1:
            columns = [values.view(losses.shape) for values in columns]
        return columns, flat, targets

    def sums(self, outputs: Tensor, split: str, rows: Rows) -> Sums:
        """Return the sums of losses and statistics, and the metrics, of outputs (K, n, width)."""
        may_be_nan = split == "train"  # an epoch of few steps may lack a class
        columns, flat, targets = self.columns(outputs, split, rows)
        if self.runs == 1:
            return add_up(columns[0], columns[1:]) + self.task.compute(
                self.metrics, flat, targets, may_be_nan
            )
        # Counting takes half the time of adding up in float64.
        added = [c.sum(1) if c.dtype == torch.bool else c.sum(1, dtype=torch.float64) for c in columns]
        sums: np.ndarray[Any, np.dtype[np.float64]] = torch.stack([c.double() for c in added]).cpu().numpy()
        if not self.metrics:
            return sums
        pairs = zip(flat.chunk(self.runs), targets.chunk(self.runs), strict=True)
        values = [self.task.compute(self.metrics, *pair, may_be_nan) for pair in pairs]
        return np.concatenate((sums, np.transpose(values)))
