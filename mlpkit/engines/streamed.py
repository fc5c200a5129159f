"""The engine of a run whose table is on the disk; see `mlpkit.engines.windows` for the order of its rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from mlpkit.config.config import Config
from mlpkit.data.augment import Augmentation
from mlpkit.engines.autograd import AutogradGradients
from mlpkit.engines.batches import Rows
from mlpkit.engines.device_data import EVALUATION_ROWS, DeviceData, Sums
from mlpkit.engines.engine import Engine
from mlpkit.engines.epoch_outputs import EpochOutputs
from mlpkit.engines.experiment import Experiment
from mlpkit.engines.manual import ManualGradients
from mlpkit.engines.matmul import Matmul
from mlpkit.engines.streamed_data import StreamedData
from mlpkit.engines.windows import Window
from mlpkit.errors import ConfigError
from mlpkit.folders.state import Tensors


class StreamedEngine(Engine):
    """See `Engine`; for one run on the CPU."""

    data: StreamedData
    epoch_outputs: "StreamedOutputs"

    def __init__(
        self,
        experiments: Sequence[Experiment],
        device: str,
        gradients_class: type[ManualGradients] | type[AutogradGradients],
        augmentation: Augmentation | None,
        matmul: Matmul,
        reason: str,
    ) -> None:
        """Take the arguments of `Engine` but for the data."""
        data = StreamedData(experiments[0], augmentation)
        super().__init__(experiments, device, gradients_class, augmentation, matmul, reason, data)

    def _new_outputs(self) -> "StreamedOutputs":
        size = min(self.steps.size, self.data.rows)
        self._steps_added = max(1, EVALUATION_ROWS // size)  # steps whose scores are added up together
        rows = (self._steps_added + 1) * size
        return StreamedOutputs(self.data, rows, self.batch_size, self.parameters.values)

    def rows_of_steps(self, epoch: int, first: int) -> Iterator[Rows]:
        """See `Engine.rows_of_steps`; the rows are places in the window that is in memory."""
        steps, windows = self.steps, self.data.windows
        at, end = epoch * steps.per_epoch + first, (epoch + 1) * steps.per_epoch
        last = self._configs[0].trainer.epochs * steps.per_epoch
        while at < end:
            window, place = windows.at(at), at % steps.per_pass
            read_for = at - place + window.steps.stop  # the first step that needs the next window
            places = self.data.take(window, windows.at(read_for) if read_for < last else None)
            self.filler.table_has_changed()
            for step in range(place, min(window.steps.stop, place + end - at)):
                begin = (step - window.steps.start) * steps.size
                self.epoch_outputs.adds_up = self._adds_up_after(window, step)
                yield places[begin : begin + steps.size]
                at += 1

    def _adds_up_after(self, window: Window, step: int) -> bool:
        """Whether scores are added up after a step of a pass: always before their rows leave memory."""
        taken = step + 1 - window.steps.start
        return step + 1 == window.steps.stop or taken % self._steps_added == 0

    def kept_rows(self, run: int, epoch: int, steps: int) -> Tensor | None:
        """See `Engine.kept_rows`; those whose scores have not been added up yet."""
        if not steps:
            return None
        last = epoch * self.steps.per_epoch + steps - 1
        window, place = self.data.windows.at(last), last % self.steps.per_pass
        if self._adds_up_after(window, place):
            return torch.arange(0)
        count = min((place + 1 - window.steps.start) % self._steps_added, steps)
        return self.data.windows.rows_of(window, range(place + 1 - count, place + 1))

    def state(self, run: int) -> dict[str, Tensors]:
        """See `Engine.state`."""
        state = super().state(run)
        if self.epoch_outputs.sums:
            state["epoch"]["sums"] = torch.tensor(self.epoch_outputs.sums, dtype=torch.float64)
        return state

    def load_state(self, run: int, state: Mapping[str, Tensors]) -> None:
        """See `Engine.load_state`."""
        super().load_state(run, state)
        sums = state.get("epoch", {}).get("sums")
        self.epoch_outputs.sums = [] if sums is None else sums.tolist()

    def resume_epoch(self, epoch: int, steps: int, outputs: Sequence[Tensor]) -> None:
        """See `Engine.resume_epoch`; the outputs are those of `kept_rows`."""
        last = epoch * self.steps.per_epoch + steps - 1
        window, place = self.data.windows.at(last), last % self.steps.per_pass
        end = (place + 1 - window.steps.start) * self.steps.size
        places = self.data.take(window, None)[end - len(outputs[0]) : end]
        with self.context:
            self.epoch_outputs.restore(places, outputs)

    def evaluate(self, split: str, poll: Callable[[], None] = lambda: None) -> Sums:
        """See `Engine.evaluate`; the rows are read some at a time."""
        sums: list[float] = []
        with self.context, self.weights.averages_shown():
            for rows in self.data.show_all(split):
                poll()
                outputs = self.filler.outputs(split, 0, rows)
                sums = added(sums, self.data.sums(outputs, split, slice(None)))
        return sums

    def outputs(self, split: str, poll: Callable[[], None] = lambda: None) -> Tensor:
        """See `Engine.outputs`."""
        found = []
        with self.weights.averages_shown():
            for rows in self.data.show_all(split):
                poll()
                found.append(self.filler.outputs(split, 0, rows).mT.clone())
        return torch.cat(found, dim=-1).mT


class StreamedOutputs(EpochOutputs):
    """See `EpochOutputs`; only the outputs of the last steps are kept, the scores of others are added up.

    Attributes:
        sums: of the rows whose outputs are not kept any more; [] if there are none.
        adds_up: whether the step that comes is the last one before the scores so far are added up.
    """

    def __init__(self, data: DeviceData, rows: int, batch_size: int, like: Tensor) -> None:
        """Allocate memory for the outputs of some steps."""
        super().__init__(data, rows, batch_size, like)
        self.sums: list[float] = []
        self.adds_up = False

    def add(self, rows: Rows, outputs: Tensor) -> None:
        """See `EpochOutputs.add`."""
        super().add(rows, outputs)
        if self.adds_up:
            self._add_up()

    def _add_up(self) -> None:
        before = self.sums  # which `collect` clears
        self.sums = added(before, super().collect())

    def collect(self) -> Sums:
        """See `EpochOutputs.collect`."""
        if self._rows:
            self._add_up()
        sums = self.sums
        self.clear()
        return sums

    def clear(self) -> None:
        """See `EpochOutputs.clear`."""
        super().clear()
        self.sums = []


def added(sums: Sequence[float], more: Sums) -> list[float]:
    """Return the sums of two parts of a split; of the second alone if there is no first."""
    numbers = [float(number) for number in more]
    return [a + b for a, b in zip(sums, numbers, strict=True)] if sums else numbers


def check_streaming(config: Config, device: str, networks: int) -> None:
    """Check that a run can be trained from a table on the disk.

    Args:
        config: the run's config.
        device: cpu or cuda:N.
        networks: how many are trained together.

    Raises:
        ConfigError: it cannot.
    """
    trainer, memory = config.trainer, "the table is larger than dataset.memory"
    reasons = {
        f"trainer.batch_size=full: {memory}; set a number of rows": trainer.batch_size == "full",
        f"trainer.processes={trainer.processes}: {memory}, and one process reads it; set "
        "trainer.processes=1": trainer.processes > 1,
        f"model.members={config.model.members}: {memory}, and is read for one network at a time; set "
        "model.members=1, or train several runs": networks > 1,
        f"device={device}: {memory}, and is read for the CPU; set device=cpu": device != "cpu",
        f"run.metrics: {memory}, and these scores need all rows at once; set run.metrics=[]": bool(
            config.run.metrics
        ),
    }
    if reason := next((reason for reason, holds in reasons.items() if holds), None):
        raise ConfigError(reason)
