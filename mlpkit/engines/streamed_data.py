"""The data of a run whose table is on the disk: what is in memory is a window of the training rows."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
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


@dataclass(frozen=True)
class Reading:
    """A window that is read.

    Attributes:
        window: the window.
        inputs: memory for its inputs.
        ranges: its rows, counted from the start of the split.
        read: reads the inputs; it uses no operation of torch.
    """

    window: Window
    inputs: Tensor
    ranges: Sequence[range]
    read: Callable[[], None]


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

    A thread reads inputs while others compute. It calls no operation of torch. With many numbers, torch would
    start more threads for it, so more than there are cores. OpenMP then puts each thread to sleep that waits
    for the others, and training is half as fast.

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
        self.splits = {name: self._part(name, self._inputs(0), ()) for name in experiment.dataset.splits}
        self.windows = self._windows()
        most = self.windows.most_rows
        self._memory = [self._inputs(most) for _ in range(WINDOWS)]
        self._thread = ThreadPoolExecutor(1)
        self._current: Loaded | None = None
        self._coming: tuple[Reading, Future[None]] | None = None

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
                coming, end = self._coming
                failed = end.exception()  # waits; a second Ctrl-C leaves the reading as it is
                self._coming = None
                if failed is not None:
                    raise failed
                self._current = self._loaded(coming)
            if self._current is None or self._current.window != window:
                reading = self._reading(window)
                reading.read()
                self._current = self._loaded(reading)
        if then is not None and self._coming is None:
            reading = self._reading(then)
            self._coming = reading, self._thread.submit(reading.read)
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

    def _reading(self, window: Window) -> Reading:
        """Return how a window is read, into the memory that is not in use."""
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
        values = inputs.numpy()[copied:]
        return Reading(
            window, inputs, ranges, partial(self._read, self._of_windows, "train", values, ranges[copied:])
        )

    def _loaded(self, reading: Reading) -> Loaded:
        window, part = reading.window, self._part("train", reading.inputs, reading.ranges)
        return Loaded(window, part, self.windows.places(window), self._expected(part))

    # ------------------------------------------------------------------------------------- evaluation

    def show_all(self, split: str) -> Iterator[int]:
        """Show all rows of a split, some at a time, and yield their number; a thread reads the next ones."""
        rows = self.splits[split].rows
        most = max(1, min(EVALUATION_ROWS, self.table.memory // 16 // (self.dtype.itemsize * self.features)))

        memory = [self._inputs(min(most, rows)) for _ in range(WINDOWS)]

        def inputs_read() -> Iterator[tuple[Tensor, range]]:
            for number, start in enumerate(range(0, rows, most)):
                part = range(start, min(start + most, rows))
                inputs = memory[number % WINDOWS][: len(part)]
                self._read(self._of_scores, split, inputs.numpy(), [part])
                yield inputs, part

        for inputs, part in one_ahead(inputs_read()):
            self.splits[split] = self._part(split, inputs, [part])
            yield len(inputs)

    def inputs_of(self, split: str, start: int, stop: int) -> Tensor:
        """See `DeviceData.inputs_of`; of the rows that are shown."""
        return self.splits[split].inputs[start:stop]

    def is_cached(self, split: str) -> bool:
        """See `DeviceData.is_cached`."""
        return False

    # ------------------------------------------------------------------------------------------- rows

    def _read(self, file: InputsFile, name: str, values: NDArray[Any], ranges: Sequence[range]) -> None:
        """Read the inputs of some rows of a split into `values`, scaled unless they are augmented."""
        begin, start, scaling = self.table.header.splits[name].start, 0, self.networks[0].scaling
        is_raw = name == "train" and self.augmentation is not None
        write = scaling.write if isinstance(scaling, Scaling) and not is_raw else _copy
        for rows in ranges:
            for portion in file.portions(begin + rows.start, begin + rows.stop):
                write(portion, values[start : start + len(portion)])
                start += len(portion)

    def _part(self, name: str, inputs: Tensor, ranges: Sequence[range]) -> Part:
        """Return some rows of a split, whose inputs have been read.

        Args:
            name: the split.
            inputs: (rows, features)
            ranges: the rows, counted from the start of the split.
        """
        split, facts = self._experiment.dataset.splits[name], self.table.header.splits[name]
        own = [slice(facts.start + rows.start, facts.start + rows.stop) for rows in ranges]
        network = self.networks[0]
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
