"""The engine: takes the steps of K runs at once. K = 1 is the ordinary run.

Runs of one engine may differ in all but the shapes of their data: seed, and thereby weights, order, masks
and changed pixels; the optimizer's settings; limits of the gradient; the rate of dropout; the rows of their
splits. Whatever a run draws it draws for itself, so that its numbers are those that it would have alone, but
for how products are rounded. What all runs have lies in flat buffers with an axis K; where K = 1, views have
no such axis.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import torch
from torch import Tensor

from mlpkit.batches import Rows, steps_per_epoch
from mlpkit.config import Config
from mlpkit.data.augment import Augmentation
from mlpkit.engines.autograd import AutogradGradients
from mlpkit.engines.device_data import EVALUATION_ROWS, DeviceData, Sums
from mlpkit.engines.manual import ManualGradients
from mlpkit.engines.parameters import Flat
from mlpkit.engines.updates import Update, averages_of, build_update
from mlpkit.errors import NonFiniteError
from mlpkit.experiment import Experiment
from mlpkit.matmul import EXACT, Matmul
from mlpkit.models import Network
from mlpkit.models.dropout import seed_dropout
from mlpkit.randomness import generator
from mlpkit.schema.scheduler import Plateau
from mlpkit.state import Tensors


class Gradients(Protocol):
    """Who fills the gradients: all that engines differ in."""

    name: str

    @property
    def context(self) -> torch.inference_mode | torch.no_grad:
        """In which a step's operations run."""

    def fill(self, rows: Rows, count: int, add: bool, randoms: Sequence[torch.Generator] | None) -> Tensor:
        """Write the gradients of rows' shares in the mean loss; return the outputs (K, width, n), as columns.

        Args:
            rows: (K, n), where in the training table they lie, or all.
            count: rows of the whole step, whose mean it is.
            add: to the gradients that are there, instead of writing over them.
            randoms: for each run, what changes its training inputs; None where nothing does.
        """

    def is_suspicious(self) -> bool:
        """Whether the last `fill` may have met a loss or a gradient that is not finite; cheap."""

    def outputs(self, split: str, start: int, stop: int) -> Tensor:
        """Return the outputs (K, n, width) of some rows of a split; the next call may write over them."""


@dataclass(frozen=True)
class Block:
    """Runs next to each other whose optimizers and schedules are set alike: one update serves them.

    Attributes:
        first: the first run.
        stop: the run after the last.
        update: changes their values.
    """

    first: int
    stop: int
    update: Update


class Engine:
    """Holds K models, their optimizers and their rows on one device.

    Attributes:
        experiments: the runs.
        blocks: of runs that one update serves.
        data: the runs' rows.
        norms: (K, 1), of the gradients that were last measured, before clipping.
    """

    flag: Tensor | None = None  # (1,), by which a device forbids updates

    def __init__(
        self,
        experiments: Sequence[Experiment],
        device: str = "cpu",
        kind: type[ManualGradients] | type[AutogradGradients] = ManualGradients,
        augmentation: Augmentation | None = None,
        matmul: Matmul = EXACT,
        reason: str = "",
        data: DeviceData | None = None,
    ) -> None:
        """Move everything to the device and make the buffers.

        Args:
            experiments: the runs; those whose optimizers are set alike should be neighbours.
            device: cpu or cuda:N.
            kind: who fills the gradients.
            augmentation: of all runs.
            matmul: how products are computed.
            reason: why this kind, for the log.
            data: of the runs, where it is on the device already.
        """
        self.experiments, self.device, self.kind, self.reason = list(experiments), device, kind, reason
        self.augmentation, self.matmul, self.task = augmentation, matmul, experiments[0].task
        networks = [experiment.network.eval() for experiment in experiments]
        self.data = data or DeviceData(
            networks, [of.dataset for of in experiments], self.task, device, augmentation
        )
        self._configs = [experiment.config for experiment in experiments]
        trainer = self._configs[0].trainer
        self.batch_size = self.data.rows if trainer.batch_size == "full" else int(trainer.batch_size)
        self.steps_per_epoch = steps_per_epoch(self.data.rows, trainer.batch_size, trainer.accumulate)
        self.dropout = [network.dropout_generators() for network in networks]
        self._lay_out(networks)

    def _lay_out(self, networks: Sequence[Network]) -> None:
        """Make what has an axis of runs."""
        self.runs = len(networks)
        self.parameters = _moved([dict(network.named_parameters()) for network in networks])
        buffers = [dict(network.layers.named_buffers(prefix="layers")) for network in networks]
        running, counters = (
            _moved([{n: b for n, b in of.items() if b.is_floating_point() == kind} for of in buffers])
            for kind in (True, False)
        )
        self._kept = [flat for flat in (self.parameters, running, counters) if flat.shapes]
        self.gradients = self.parameters.like()
        shared = networks, self.parameters, self.gradients, self.data
        self.filler: Gradients
        if self.kind is ManualGradients:
            self.filler = ManualGradients(*shared, min(self.batch_size, self.data.rows), self.matmul)
        else:
            self.filler = AutogradGradients(*shared, self.matmul, running, counters)
        self.name, self.context = self.filler.name, self.filler.context
        values, configs = self.parameters.values, self._configs
        self.norms = values.new_zeros(self.runs, 1)
        self._gradient_rows = self.parameters.rows(self.gradients)
        self._norm_limits = self._limits([config.trainer.clip_norm for config in configs])
        self._value_limits = self._limits([config.trainer.clip_value for config in configs])
        slots = {slot for config in configs for slot in averages_of(config.optimizer)}
        self.averages = {slot: self.parameters.like() for slot in sorted(slots)}
        self.blocks = [self._block(*of) for of in _alike(configs)]
        # Outputs of an epoch's rows in the order in which they were seen, each before its update. Rows are
        # columns, as in the programs, so that scores are added up alike wherever they come from.
        shape = (self.runs, self.data.width, self.data.rows)[self.runs == 1 :]
        self._seen_outputs = values.new_empty(shape)
        sizes = [self.batch_size] * (self.data.rows // self.batch_size)
        rest = self.data.rows - sum(sizes)
        self._pieces = torch.split(self._seen_outputs, [*sizes, rest] if rest else sizes, dim=-1)
        self._outputs = self._seen_outputs  # of all rows, where a step has seen them all
        self._seen: list[Rows] = []  # since the last collect

    def _block(self, first: int, stop: int) -> Block:
        flats = (self.parameters.values, self.gradients, *self.averages.values())
        values, gradients, *averages = (self.parameters.neighbours(flat, first, stop) for flat in flats)
        named = dict(zip(self.averages, averages, strict=True))
        config = self._configs[first].optimizer
        return Block(first, stop, build_update(config, values, gradients, named, self.flag))

    def _limits(self, limits: Sequence[float | None]) -> Tensor | None:
        """Return (K, 1) limits, infinite for a run that has none; None where no run has one."""
        if all(limit is None for limit in limits):
            return None
        finite = [[math.inf if limit is None else limit] for limit in limits]
        return self.parameters.values.new_tensor(finite)

    def rows_in(self, steps: int) -> int:
        """Return how many training rows the first steps of an epoch see."""
        return min(self.data.rows, steps * self.batch_size * self._configs[0].trainer.accumulate)

    # ------------------------------------------------------------------------------------------ steps

    def step(self, rows: Rows, lrs: Sequence[float], epoch: int, step: int, measure: bool) -> dict[int, str]:
        """Update all runs' weights from some training rows.

        Args:
            rows: (K, n), where in the training table the rows of this step lie, (n,) where K = 1; or all.
            lrs: the learning rate of each block.
            epoch: passes over the data before this one; seeds dropout and augmentation.
            step: optimizer steps before this one; likewise.
            measure: keep the norms of the gradients.

        Returns:
            What is not finite, by run. Such a run's weights are as before the step where it was the only one;
            else what it does from now on means nothing. On a CUDA device see `failures`.
        """
        randoms = self._seed(epoch, step)
        with self.context:
            failures = self._differentiate(rows, randoms)
            if failures:
                if len(failures) == self.runs:
                    return failures
                for run in failures:
                    for gradients in self._gradient_rows:
                        gradients[run].zero_()
            self._clip(measure)
            for block, lr in zip(self.blocks, lrs, strict=True):
                block.update(lr)
        return failures

    def failures(self) -> dict[int, NonFiniteError]:
        """Return what steps have found on a device that is not waited for, and not said yet."""
        return {}

    def _seed(self, epoch: int, step: int) -> list[torch.Generator] | None:
        """Make what the runs draw in a step a function of (seed, purpose, epoch, step)."""
        if self.dropout[0]:
            for generators, config in zip(self.dropout, self._configs, strict=True):
                seed_dropout(generators, config.seed, epoch, step)
        if self.augmentation is None:
            return None
        return [generator(config.seed, "augment", epoch, step, self.device) for config in self._configs]

    def _differentiate(self, rows: Rows, randoms: list[torch.Generator] | None) -> dict[int, str]:
        """Write the gradients of a step; return what is not finite, by run."""
        failures: dict[int, str] = {}
        for part, outputs in self._fill(rows, randoms):
            if self.filler.is_suspicious():
                failures |= self._not_finite(part, outputs)
            self._see(part, outputs)
        return failures

    def _fill(self, rows: Rows, randoms: list[torch.Generator] | None) -> Iterator[tuple[Rows, Tensor]]:
        """Yield the rows of each batch of a step, and their outputs."""
        if isinstance(rows, slice):
            yield rows, self.filler.fill(rows, self.data.rows, False, randoms)
            return
        count = rows.shape[-1]
        parts = (rows,) if count <= self.batch_size else torch.split(rows, self.batch_size, dim=-1)
        for index, part in enumerate(parts):
            yield part, self.filler.fill(part, count, index > 0, randoms)

    def _see(self, rows: Rows, outputs: Tensor) -> None:
        """Keep the outputs (K, width, n) of some rows for the epoch's scores."""
        if isinstance(rows, slice):
            self._outputs = outputs
        else:
            self._pieces[len(self._seen)].copy_(outputs)
        self._seen.append(rows)

    def _not_finite(self, rows: Rows, outputs: Tensor) -> dict[int, str]:
        """Return what is not finite now that some rows have been differentiated, by run."""
        losses = self.data.losses(outputs.mT, "train", rows).view(self.runs, -1)
        found = {}
        for run in range(self.runs):
            if not bool(losses[run].isfinite().all()):
                found[run] = "the loss is not finite"
                continue
            of_run = self.parameters.of(self.gradients, run)
            bad = (name for name, gradient in of_run.items() if not bool(gradient.isfinite().all()))
            if name := next(bad, None):
                found[run] = f"the gradient of {name} is not finite"
        return found

    def _clip(self, measure: bool) -> None:
        """Measure and limit the gradients, as torch.nn.utils.clip_grad_value_ and clip_grad_norm_ do."""
        if measure or self._norm_limits is not None:
            norms = self._measure()
            if measure:
                self.norms = norms
        if self._value_limits is not None:
            for gradients in self._gradient_rows:
                gradients.clamp_(-self._value_limits, self._value_limits)
            if self._norm_limits is not None:
                norms = self._measure()
        if self._norm_limits is not None:
            factors = torch.clamp(self._norm_limits / (norms + 1e-6), max=1.0)
            for gradients in self._gradient_rows:
                gradients.mul_(factors)

    def _measure(self) -> Tensor:
        rows = self._gradient_rows
        of_all = rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)
        norms: Tensor = torch.linalg.vector_norm(of_all, dim=1, keepdim=True)
        return norms

    # ----------------------------------------------------------------------------------------- scores

    def collect(self) -> Sums:
        """Return sums over the training rows since the last call, each before its update."""
        seen, self._seen = self._seen, []
        with self.context:
            if isinstance(seen[-1], slice):
                return self.data.sums(self._outputs.mT, "train", seen[-1])
            rows = torch.cat(seen, dim=-1)  # type: ignore[arg-type]  # no slice is among them
            return self.data.sums(self._seen_outputs[..., : rows.shape[-1]].mT, "train", rows)

    def evaluate(self, split: str, poll: Callable[[], None] = lambda: None) -> Sums:
        """Return sums over a split.

        Args:
            split: its name.
            poll: called between two parts of it; what it raises ends the evaluation.
        """
        rows, largest = self.data.splits[split].rows, max(1, EVALUATION_ROWS // self.runs)
        outputs: list[Tensor] = []
        with self.context:
            for start in range(0, rows, largest):
                if start:
                    poll()
                found = self.filler.outputs(split, start, min(start + largest, rows))
                outputs.append(found if rows <= largest else found.mT.clone())
            whole = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1).mT
            return self.data.sums(whole, split, slice(None))

    def scores(self, sums: Sums, split: str) -> dict[str, Any]:
        """Return scores by name of a split's sums: numbers where K = 1, else (K,)."""
        return self.task.scores(list(sums), self.data.splits[split].rows)

    # ------------------------------------------------------------------------------------------- runs

    def remember(self, better: Sequence[bool]) -> None:
        """Keep the weights of some runs (K,) as their best so far."""
        with self.context:
            for flat in self._kept:
                flat.remember(better)

    def swap_best(self) -> None:
        """Exchange the weights of all runs and their best ones."""
        with self.context:
            for flat in self._kept:
                flat.swap_best()

    def take(self, runs: Sequence[int]) -> "Engine":
        """Return an engine of some runs, as they are now; it is no longer this engine that trains them."""
        if len(runs) == self.runs:
            return self
        experiments = [self.experiments[run] for run in runs]
        arguments = (self.device, self.kind, self.augmentation, self.matmul, self.reason)
        states = [self.state(run) for run in runs]
        taken = type(self)(experiments, *arguments, self.data.of(runs))
        for run, state in enumerate(states):
            taken.load_state(run, state)
        taken.norms = self.norms[list(runs)]
        if self._seen:
            with taken.context:
                taken._seen = [of if isinstance(of, slice) else _of(of, runs) for of in self._seen]
                taken._seen_outputs.copy_(
                    _of(self._outputs if isinstance(self._seen[-1], slice) else self._seen_outputs, runs)
                )
        return taken

    def state(self, run: int) -> dict[str, Tensors]:
        """Return copies of what a run's checkpoint holds, by kind: model, optimizer, best and epoch.

        `best` holds the best weights so far; `epoch` what the running epoch has seen.
        """
        model = dict(self.experiments[run].network.state_dict())
        best = model | {name: own for flat in self._kept for name, own in flat.of(flat.best, run).items()}
        found = {"model": model, "optimizer": self._slots(run), "best": best, "epoch": self._epoch(run)}
        return {kind: {name: t.detach().clone() for name, t in of.items()} for kind, of in found.items()}

    def load_state(self, run: int, state: Mapping[str, Tensors]) -> None:
        """Take back what `state` has returned; kinds that are not there stay as they are."""
        with self.context:
            if "model" in state:
                self.experiments[run].network.load_state_dict(state["model"])
            if state.get("best"):
                for flat in self._kept:
                    for name, own in flat.of(flat.best, run).items():
                        own.copy_(state["best"][name])
            if optimizer := state.get("optimizer"):
                self._block_of(run).update.begun = True
                for name, own in self._slots(run).items():
                    own.copy_(optimizer[name])
            if "gradient_norm" in state.get("epoch", {}):
                self.norms[run] = state["epoch"]["gradient_norm"]

    def resume_epoch(self, rows: Rows, outputs: Sequence[Tensor]) -> None:
        """Go on in an epoch that has seen some rows.

        Args:
            rows: as given to `step`.
            outputs: (n, width) of each run, as in its checkpoint.
        """
        with self.context:
            for run, own in enumerate(outputs):
                into = self._seen_outputs if self.runs == 1 else self._seen_outputs[run]
                into[:, : len(own)].copy_(own.mT)
            self._outputs = self._seen_outputs
        self._seen = [rows] if isinstance(rows, slice) else list(torch.split(rows, self.batch_size, dim=-1))

    def _epoch(self, run: int) -> Tensors:
        """Return what a run's epoch has seen so far."""
        state = {"gradient_norm": self.norms[run, 0]}
        if not self._seen:
            return state
        is_all = isinstance(self._seen[-1], slice)
        count = self.data.rows if is_all else sum(of.shape[-1] for of in self._seen if isinstance(of, Tensor))
        outputs = self._outputs if is_all else self._seen_outputs
        outputs = outputs if self.runs == 1 else outputs[run]
        outputs = outputs[:, :count].mT.contiguous()
        if is_all:
            scaled = self.data.whole("train", "scaled")
            scaled = scaled[run] if self.data.splits["train"].places is not None and self.runs > 1 else scaled
        else:
            rows = torch.cat(self._seen, dim=-1)  # type: ignore[arg-type]
            scaled = self.data.splits["train"].scaled[rows if self.runs == 1 else rows[run]]
        return state | {"outputs": outputs, "losses": self.task.loss(outputs, scaled)}

    def _slots(self, run: int) -> Tensors:
        """Return a run's part of its optimizer, named `<parameter>/<slot>`; nothing before the first step."""
        update = self._block_of(run).update
        if not update.begun:
            return {}
        config, own = self._configs[run].optimizer, self.parameters.own_shapes[run]
        found = {f"{name}/{slot}": value for slot, value in update.scalars.items() for name in own}
        for slot in averages_of(config):
            tensors = self.parameters.of(self.averages[slot], run)
            found |= {f"{name}/{slot}": values for name, values in tensors.items()}
        return found

    def _block_of(self, run: int) -> Block:
        return next(block for block in self.blocks if block.first <= run < block.stop)


def _moved(of_each: Sequence[dict[str, Tensor]]) -> Flat:
    """Return a buffer with tensors of networks, which from now on are views of it."""
    flat = Flat(of_each)
    for run, tensors in enumerate(of_each):
        for name, own in flat.of(flat.values, run).items():
            tensors[name].data = own
    return flat


def _alike(configs: Sequence[Config]) -> list[tuple[int, int]]:
    """Return the first and the last but one of neighbours that one update serves.

    A plateau schedule has its own learning rate for each run.
    """

    def settings(run: int) -> tuple[Any, ...]:
        config = configs[run]
        return config.optimizer, config.scheduler, run if isinstance(config.scheduler, Plateau) else -1

    found, start = [], 0
    for _, neighbours in groupby(range(len(configs)), key=settings):
        stop = start + len(list(neighbours))
        found.append((start, stop))
        start = stop
    return found


def _of(values: Tensor, runs: Sequence[int]) -> Tensor:
    """Return (K, …) of some of the runs; without the axis where there is one."""
    return values[runs[0]] if len(runs) == 1 else values[list(runs)]
