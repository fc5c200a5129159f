"""The data of a run whose table is on the disk: what is in memory is a window of the training rows."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpkit.data.augment import Augmentation
from mlpkit.data.disk_inputs import InputsFile
from mlpkit.data.disk_table import INPUTS
from mlpkit.engines.batches import Steps
from mlpkit.engines.device_data import EVALUATION_ROWS, DeviceData
from mlpkit.engines.experiment import Experiment
from mlpkit.engines.parts import Part
from mlpkit.engines.windows import Window, Windows
from mlpkit.errors import ConfigError
from mlpkit.models.torch_layers import Scaling
from mlpkit.system.ahead import one_ahead

WINDOWS = 2  # in memory: one that is trained on, and the next one
PORTION = 1 << 15  # inputs that are scaled at once: they stay in the processor's cache, and take one thread


@dataclass(frozen=True)
class Loaded:
    """A window in memory.

    Attributes:
        window: the window.
        part: its rows.
        places: where the rows of its steps are among them; see `Windows.places`.
        expected: see `DeviceData.expected`.
    """

    window: Window
    part: Part
    places: Tensor
    expected: Tensor


class StreamedData(DeviceData):
    """See `DeviceData`; for one run. `splits` has the rows that were last shown, and the sizes of all splits.

    Attributes:
        table: the table on the disk.
        windows: the order of the training rows.
    """

    def __init__(self, experiment: Experiment, augmentation: Augmentation | None = None) -> None:
        """Read nothing yet, and allocate the windows.

        Args:
            experiment: the run, whose dataset is on the disk.
            augmentation: the augmentation of the training inputs.

        Raises:
            ConfigError: there is too little memory for a window.
        """
        assert experiment.dataset.disk is not None
        self.table, self._experiment = experiment.dataset.disk, experiment
        self.networks, self.device, self.runs = [experiment.network], "cpu", 1
        self.task, self.loss, self.metrics = experiment.task, experiment.loss, experiment.metrics
        self.augmentation = augmentation
        schema = experiment.dataset.input_schema
        self.dtype, self.predicted, self.features = (
            experiment.network.dtype,
            schema.width,
            len(schema.features),
        )
        self.width = self.loss.width(self.predicted)
        self.unscaling = self._unscaling_of_runs()
        self._clear_cache()
        path = self.table.folder / INPUTS
        self._of_windows, self._of_scores = InputsFile(path), InputsFile(path)  # threads may use both at once
        self.splits = {
            name: self._part(name, self._inputs(0), (), self._of_scores) for name in experiment.dataset.splits
        }
        self.windows = self._windows()
        most = self.windows.most_rows
        self._memory = [self._inputs(most) for _ in range(WINDOWS)]
        self._thread = ThreadPoolExecutor(1)
        self._current: Loaded | None = None
        self._coming: Future[Loaded] | None = None

    def _inputs(self, rows: int) -> Tensor:
        return torch.empty(rows, self.features, dtype=self.dtype)

    def _windows(self) -> Windows:
        """Return the order for windows that fill half of the memory."""
        config, header, rows = self._experiment.config, self.table.header, self.splits["train"].rows
        steps, block = Steps.of(config.trainer, rows), header.block
        of_row = self.dtype.itemsize * self.features + self._bytes_of_targets()
        fewest = Windows.fewest_blocks(block, steps.size)
        fitting = self.table.memory // 2 // WINDOWS // (of_row * block)
        if fitting < fewest and fewest * block < rows:
            least = fewest * block * of_row * WINDOWS * 2
            smaller = ", or a smaller trainer.batch_size" if steps.size > block else ""
            raise ConfigError(
                f"dataset.memory={self.table.memory}: too little for steps of {steps.size:,} rows; set at "
                f"least {least}{smaller}"
            )
        return Windows(steps, config.seed, block, max(fitting, fewest))

    def _bytes_of_targets(self) -> int:
        """Return about how many bytes a row in memory takes besides its inputs."""
        of_output = 8 + 16 + 2 * self.dtype.itemsize  # the target, its truth, scaled and expected
        return 8 + 2 * self.dtype.itemsize + self.width * of_output

    # ---------------------------------------------------------------------------------- training rows

    def take(self, window: Window, then: Window | None) -> Tensor:
        """Show a window of the training rows; return where the rows of its steps are in it.

        Args:
            window: the window.
            then: the one that is needed next, which a thread begins to read; None: none is.
        """
        if self._current is None or self._current.window != window:
            if self._coming is not None:
                self._current, self._coming = self._coming.result(), None
            if self._current is None or self._current.window != window:
                self._current = self._load(window)
        if then is not None and self._coming is None:
            self._coming = self._thread.submit(self._load, then)
        self.splits["train"] = self._current.part
        return self._current.places

    def expected(self) -> Tensor:
        """See `DeviceData.expected`; of the window."""
        return self._expected(self.splits["train"]) if self._current is None else self._current.expected

    def input_range(self) -> Tensor:
        """See `DeviceData.input_range`; it is known from when the table was written."""
        ends = torch.tensor([self.table.header.low, self.table.header.high], dtype=self.dtype)
        if self.augmentation is None:
            with torch.no_grad():
                return self.networks[0].scaling(ends)  # type: ignore[no-any-return]
        lowest, highest = (end.expand(self.features) for end in (ends.min(), ends.max()))
        return torch.stack((lowest, highest, torch.zeros_like(lowest)))

    def _expected(self, part: Part) -> Tensor:
        return self.loss.expected(part.scaled, self.width, self.dtype)

    def _load(self, window: Window) -> Loaded:
        """Read a window into the memory that is not in use."""
        current = self._current
        in_use = None if current is None else current.part.inputs.data_ptr()
        memory = next(each for each in self._memory if each.data_ptr() != in_use)
        inputs, copied = memory[: window.before + window.rows], 0
        if current is not None and current.window.is_before(window):
            copied = window.before  # to read rows one by one takes as long as a part of all blocks
            places = current.places[len(current.places) - copied :].numpy()
            np.take(current.part.inputs.numpy(), places, 0, inputs[:copied].numpy(), mode="clip")
        before = self.windows.rows_before(window).tolist()
        ranges = [*(range(row, row + 1) for row in before), *window.ranges]
        part = self._part("train", inputs, ranges, self._of_windows, copied)
        return Loaded(window, part, self.windows.places(window), self._expected(part))

    # ------------------------------------------------------------------------------------- evaluation

    def show_all(self, split: str) -> Iterator[int]:
        """Show all rows of a split, some at a time, and yield their number; a thread reads the next ones."""
        rows = self.splits[split].rows
        most = max(1, min(EVALUATION_ROWS, self.table.memory // 16 // (self.dtype.itemsize * self.features)))

        def parts() -> Iterator[Part]:
            memory = [self._inputs(min(most, rows)) for _ in range(WINDOWS)]
            for number, start in enumerate(range(0, rows, most)):
                part = range(start, min(start + most, rows))
                yield self._part(split, memory[number % WINDOWS][: len(part)], [part], self._of_scores)

        for part in one_ahead(parts()):
            self.splits[split] = part
            yield len(part.inputs)

    def inputs_of(self, split: str, start: int, stop: int) -> Tensor:
        """See `DeviceData.inputs_of`; of the rows that are shown."""
        return self.splits[split].inputs[start:stop]

    def is_cached(self, split: str) -> bool:
        """See `DeviceData.is_cached`."""
        return False

    # ------------------------------------------------------------------------------------------- rows

    def _part(
        self, name: str, inputs: Tensor, ranges: Sequence[range], file: InputsFile, copied: int = 0
    ) -> Part:
        """Read some rows of a split.

        Args:
            name: the split.
            inputs: memory for their inputs.
            ranges: the rows, counted from the start of the split.
            file: reads the inputs.
            copied: the number of ranges at the start, of a row each, whose inputs are there already.
        """
        split, facts = self._experiment.dataset.splits[name], self.table.header.splits[name]
        own = [slice(facts.start + rows.start, facts.start + rows.stop) for rows in ranges]
        network, values, start = self.networks[0], inputs.numpy(), copied
        is_raw = name == "train" and self.augmentation is not None
        write = network.scaling.write if isinstance(network.scaling, Scaling) and not is_raw else _copy
        for rows in own[copied:]:
            for portion in file.portions(rows.start, rows.stop):
                write(portion, values[start : start + len(portion)])
                start += len(portion)
        encoded = self.task.encode(_gathered(split.all_targets, own), self.dtype)
        mean = torch.tensor(facts.means, dtype=torch.float64)
        truth = self.task.truth(encoded, mean)
        weights = self._weights(name, own)
        return Part(inputs, network.standardize(encoded), truth, None, facts.stop - facts.start, weights)

    def _weights(self, name: str, rows: Sequence[slice]) -> Tensor | None:
        """Return the weights (1, n) of some rows, with the mean 1 over the split; see `row_weights`."""
        split, facts = self._experiment.dataset.splits[name], self.table.header.splits[name]
        by_class = torch.tensor(self._experiment.class_weights, dtype=torch.float64)
        if split.all_weights is None and not len(by_class):
            return None
        targets, sums = _gathered(split.all_targets, rows), torch.tensor(facts.weights, dtype=torch.float64)
        weights = torch.ones(len(targets), dtype=torch.float64)
        if split.all_weights is not None:
            weights = _gathered(split.all_weights, rows).double()
        if len(by_class):
            weights, sums = weights * by_class[targets], sums * by_class
        return (weights / (sums.sum() / (facts.stop - facts.start))).to(self.dtype)[None]


def _gathered(values: Tensor, rows: Sequence[slice]) -> Tensor:
    return torch.cat([values[part] for part in rows]) if rows else values[:0]


def _copy(values: NDArray[np.float32], out: NDArray[Any]) -> None:
    out[:] = values
