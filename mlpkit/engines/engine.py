"""The engine: trains K runs at once, step by step. K = 1 is the ordinary run.

Runs of one engine have data of equal shapes. They may differ in the seed (initial weights, order, dropout,
augmentation), optimizer settings, clipping, dropout rate, hidden widths and the rows of their splits. Each
run has its own random generators, so its results are those of a run trained alone, except for rounding.
Parameters and optimizer state are stored in flat buffers with an axis K; for K = 1 views have no such axis.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mlpkit.data.augment import Augmentation, Draws
from mlpkit.data.randomness import generator
from mlpkit.engines.autograd import AutogradGradients
from mlpkit.engines.averaging import averaging_of
from mlpkit.engines.batches import Orders, Rows, Steps
from mlpkit.engines.clipping import Clipping
from mlpkit.engines.device_data import EVALUATION_ROWS, DeviceData, Sums
from mlpkit.engines.epoch_outputs import EpochOutputs
from mlpkit.engines.experiment import Experiment
from mlpkit.engines.gradients import Gradients
from mlpkit.engines.manual import ManualGradients
from mlpkit.engines.matmul import EXACT, Matmul
from mlpkit.engines.mean_outputs import outputs_of_row
from mlpkit.engines.not_finite import not_finite
from mlpkit.engines.own_best import OwnBest
from mlpkit.engines.processes import Processes
from mlpkit.engines.updates import Optimizers
from mlpkit.engines.weights import Weights
from mlpkit.errors import NonFiniteError
from mlpkit.folders.state import Tensors
from mlpkit.models.torch_inputs import lr_factors
from mlpkit.models.torch_layers import seed_dropout
from mlpkit.models.torch_network import Network


class Engine:
    """Holds K models, their optimizers and their rows on one device.

    Attributes:
        experiments: the runs.
        data: the runs' data.
        parameters: the runs' weights and biases.
        gradients: (K · P), the gradients of `parameters`.
        optimizers: the runs' optimizers.
        weights: the runs' weights, with their averages and the best ones.
        average: how far the averages of the weights move after a step; None without.
        clip: clips the runs' gradients and stores their norms.
        epoch_outputs: the outputs of the current epoch so far.
        processes: those that train the run together; None: this one alone.
        own_best: the best epoch of each member, by its fold; None: all members keep the same epoch.
    """

    processes: Processes | None = None
    own_best: OwnBest | None = None

    def __init__(
        self,
        experiments: Sequence[Experiment],
        device: str = "cpu",
        gradients_class: type[ManualGradients] | type[AutogradGradients] = ManualGradients,
        augmentation: Augmentation | None = None,
        matmul: Matmul = EXACT,
        reason: str = "",
        data: DeviceData | None = None,
    ) -> None:
        """Move the data to the device and allocate the buffers.

        Args:
            experiments: the runs; adjacent runs with equal optimizer settings share one update.
            device: cpu or cuda:N.
            gradients_class: the class that computes the gradients.
            augmentation: the augmentation of all runs.
            matmul: the precision of matrix products.
            reason: the reason for this engine, for the log.
            data: the runs' data, if it is on the device already.
        """
        self.experiments, self.device, self.reason = list(experiments), device, reason
        first, networks = experiments[0], [experiment.network.eval() for experiment in experiments]
        self.gradients_class, self.augmentation, self.matmul = gradients_class, augmentation, matmul
        self.task, self.data = first.task, data or DeviceData(experiments, device, augmentation)
        trainer, self._configs = first.config.trainer, [experiment.config for experiment in experiments]
        self._seeds = [config.seed for config in self._configs]
        self.batch_size = self.data.rows if trainer.batch_size == "full" else int(trainer.batch_size)
        self.steps = Steps.of(trainer, self.data.rows)
        self.orders = Orders(self.steps, self._seeds, device)
        self.dropout = [network.dropout_generators() for network in networks]
        self._allocate(networks)

    def _allocate(self, networks: Sequence[Network]) -> None:
        """Allocate everything that depends on the number of runs."""
        self.average = averaging_of(self._configs[0].trainer, self.steps.per_epoch)
        self.runs, self.weights = len(networks), Weights(networks, self.average is not None)
        self.parameters = self.weights.parameters
        self.gradients = self._new_gradients()
        buffers = self.weights.running, self.weights.counters
        shared = networks, self.parameters, self.gradients, self.data, self.matmul, *buffers
        self.filler: Gradients
        if self.gradients_class is ManualGradients:
            self.filler = ManualGradients(*shared, min(self.batch_size, self.data.rows))
        else:
            self.filler = AutogradGradients(*shared)
        self.name, self.context = self.filler.name, self.filler.context
        self.optimizers = Optimizers(self.parameters, self.gradients, self._configs, lr_factors(networks))
        self._gradient_rows = self.parameters.rows(self.gradients)
        self.clip = Clipping(self._gradient_rows, self._configs)
        self.epoch_outputs = self._new_outputs()

    def _new_outputs(self) -> EpochOutputs:
        """Return the memory for the outputs of an epoch."""
        return EpochOutputs(self.data, self.steps.most_rows, self.batch_size, self.parameters.values)

    def _new_gradients(self) -> Tensor:
        """Return a buffer (K · P) of zeros for the gradients."""
        return self.parameters.zeros_like()

    def rows_of_steps(self, epoch: int, first: int) -> Iterator[Rows]:
        """Yield the table indices of the rows of each step of an epoch; skip the first steps."""
        if self._configs[0].trainer.batch_size == "full":  # not shuffled: only its sum counts
            yield from [slice(None)][first:]
            return
        for of_pass in self.orders.rows(epoch, first, self.steps.per_epoch):
            for rows in torch.split(of_pass, self.steps.size, dim=-1):
                yield self.data.table_rows(rows)

    def seeds_of(self, run: int) -> list[int]:
        """Return the seeds by which a run's rows are shuffled, one for each of its networks."""
        return [self._seeds[run]]

    def step(self, rows: Rows, lrs: Sequence[float], epoch: int, step: int, measure: bool) -> dict[int, str]:
        """Update all runs' weights from some training rows.

        Args:
            rows: (K, n), or (n,) where K = 1: the rows' indices in the training table; slice(None) for all.
            lrs: the learning rate of each block; see `Optimizers`.
            epoch: the number of epochs before this one; seeds dropout and augmentation.
            step: the number of optimizer steps before this one; likewise.
            measure: whether to store the norms of the gradients.

        Returns:
            For each failed run, what is not finite. If all runs fail, no weights change; else the failed runs
            must be removed. On a CUDA device see `failures`.
        """
        randoms = self.seed_draws(epoch, step)
        with self.context:
            failures = self._differentiate(rows, randoms)
            if failures:
                if len(failures) == self.runs:
                    return failures
                for run in failures:
                    for gradients in self._gradient_rows:
                        gradients[run].zero_()
            self.clip(measure)
            if self._configs[0].optimizer.has_line_search:
                buffers = self.optimizers.blocks[0].update.buffers
                buffers.loss = self._loss_again(rows, epoch, step, self.epoch_outputs.keep())
            self.optimizers(lrs)
            if self.average is not None:
                self.weights.average(self.average(epoch, step))
        return failures

    def failures(self) -> dict[int, NonFiniteError]:
        """Return the errors of failed runs that steps did not return: on a CUDA device only."""
        return {}

    def seed_draws(self, epoch: int, step: int) -> list[Draws] | None:
        """Seed dropout by (seed, epoch, step); return the draws for augmentation, if there is any."""
        if self.dropout[0]:
            for generators, config in zip(self.dropout, self._configs, strict=True):
                seed_dropout(generators, config.seed, epoch, step)
        if self.augmentation is None:
            return None
        randoms = (generator(seed, "augment", epoch, step, self.device) for seed in self._seeds)
        return [Draws(seed, epoch, random) for seed, random in zip(self._seeds, randoms, strict=True)]

    def _differentiate(self, rows: Rows, randoms: list[Draws] | None) -> dict[int, str]:
        """Compute the gradients of a step; return what is not finite, by run."""
        failures: dict[int, str] = {}
        for part, outputs in self._fill(rows, randoms):
            if self.filler.is_suspicious():
                failures |= not_finite(self.data, self.parameters, self.gradients, part, outputs)
            self.epoch_outputs.add(part, outputs)
        return failures

    def _fill(self, rows: Rows, randoms: list[Draws] | None) -> Iterator[tuple[Rows, Tensor]]:
        """Compute the gradients batch by batch; yield the rows and outputs of each batch."""
        if isinstance(rows, slice):
            yield rows, self.filler.fill(rows, self.data.rows, False, randoms)
            return
        count = rows.shape[-1]
        parts = (rows,) if count <= self.batch_size else torch.split(rows, self.batch_size, dim=-1)
        for index, part in enumerate(parts):
            yield part, self.filler.fill(part, count, index > 0, randoms)

    def _loss_again(self, rows: Rows, epoch: int, step: int, first: Tensor) -> Callable[[], float]:
        """Return `Buffers.loss` for a step; `first` are the outputs that its gradients were computed with."""
        known = [first]

        def loss() -> float:
            outputs = known.pop() if known else None
            if outputs is None:
                ((_, outputs),) = self._fill(rows, self.seed_draws(epoch, step))
            return float(self.data.losses(outputs.mT, "train", rows).mean(dtype=torch.float64))

        return loss

    def collect(self) -> Sums:
        """Return the sums over the training rows since the last call, computed before each row's update."""
        with self.context:
            return self.epoch_outputs.collect()

    def evaluate(self, split: str, poll: Callable[[], None] = lambda: None) -> Sums:
        """Return the sums over a split, computed with the averages of the weights if there are any.

        Args:
            split: the split's name.
            poll: called between batches; an exception from it ends the evaluation.
        """
        with self.context:
            return self.data.sums(self.outputs(split, poll), split, slice(None))

    def outputs(self, split: str, poll: Callable[[], None] = lambda: None) -> Tensor:
        """Return the outputs (K, rows, width) of a split, not yet unscaled; (rows, width) where K = 1.

        Args:
            split: see `evaluate`.
            poll: see `evaluate`.
        """
        networks = self.runs * outputs_of_row(self.data)
        rows, largest = self.data.splits[split].rows, max(1, EVALUATION_ROWS // networks)
        outputs: list[Tensor] = []
        with self.weights.averages_shown():
            for start in range(0, rows, largest):
                if start:
                    poll()
                found = self.filler.outputs(split, start, min(start + largest, rows))
                outputs.append(found if rows <= largest else found.mT.clone())
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1).mT

    def scores(self, sums: Sums, split: str, rows: int | None = None) -> dict[str, Any]:
        """Return a split's scores by name, computed from its sums: numbers where K = 1, else (K,).

        Args:
            sums: those of `evaluate` or `collect`.
            split: the split's name.
            rows: the number of rows that were summed; None: all of the split.
        """
        names = [metric.name for metric in self.data.metrics]
        count = len(sums) - len(names)
        scores = self.task.scores(list(sums[:count]), rows or self.data.splits[split].rows)
        return scores | dict(zip(names, sums[count:], strict=True))

    def agree(self, sums: dict[str, Sums], seconds: float) -> tuple[dict[str, Sums], float]:
        """Return sums by split and a time, as all processes of the training have them: here unchanged."""
        return sums, seconds

    def keep_own_best(self) -> Mapping[str, Any] | None:
        """Keep the weights of each member whose loss on its own fold is the lowest so far.

        Returns:
            The scores of the weights that are now kept, numbers where K = 1, else (K,), without those of
            `run.metrics`; None if `own_best` is None.
        """
        return None

    def save_best(self, better: Sequence[bool]) -> None:
        """See `Weights.save_best`."""
        with self.context:
            self.weights.save_best(better)

    def swap_best(self) -> None:
        """See `Weights.swap_best`."""
        with self.context:
            self.weights.swap_best()

    @property
    def blocks(self) -> list[range]:
        """The runs of each block, which share a learning rate; see `Optimizers`."""
        return [range(block.first, block.stop) for block in self.optimizers.blocks]

    @property
    def norms(self) -> Tensor:
        """(K, 1), the norms of the gradients of the last step that was measured, before clipping."""
        return self.clip.norms

    @property
    def uses_threads(self) -> bool:
        """Whether the number of torch's threads can be changed between steps."""
        return self.device == "cpu"

    def select_runs(self, runs: Sequence[int], to_end: bool = False) -> "Engine":
        """Return an engine for some runs in their current state; this engine can no longer train them.

        Args:
            runs: the indices of the runs.
            to_end: whether the runs are only evaluated from now on; networks then have the averages.
        """
        selected = self if len(runs) == self.runs else self._select(runs, self._engine_class(runs, to_end))
        if to_end:
            with selected.context:
                selected.weights.end_with_averages()
        return selected

    def _select(self, runs: Sequence[int], engine_class: "type[Engine]") -> "Engine":
        experiments = [self.experiments[run] for run in runs]
        arguments = (self.device, self.gradients_class, self.augmentation, self.matmul, self.reason)
        states = [self.state(run) for run in runs]
        selected = engine_class(experiments, *arguments, self.data.select_runs(runs))
        for run, state in enumerate(states):
            selected.load_state(run, state)
        with selected.context:
            selected.epoch_outputs.copy_from(self.epoch_outputs, runs)
        return selected

    def _engine_class(self, runs: Sequence[int], to_end: bool) -> "type[Engine]":
        return type(self)

    def state(self, run: int) -> dict[str, Tensors]:
        """Return copies of a run's weights, optimizer state and outputs of the epoch so far, by kind."""
        kinds = self.weights.state(run, self.experiments[run].network)
        kinds["optimizer"] = self.optimizers.state(run)
        kinds["epoch"] = {"gradient_norm": self.clip.norms[run, 0], **self.epoch_outputs.state(run)}
        return {kind: {name: t.detach().clone() for name, t in own.items()} for kind, own in kinds.items()}

    def load_state(self, run: int, state: Mapping[str, Tensors]) -> None:
        """Restore what `state` returned; parts that are missing are left unchanged."""
        with self.context:
            self.weights.restore(run, self.experiments[run].network, state)
            if state.get("optimizer"):
                self.optimizers.restore(run, state["optimizer"])
            if "gradient_norm" in state.get("epoch", {}):
                self.clip.norms[run] = state["epoch"]["gradient_norm"]

    def kept_rows(self, run: int, epoch: int, steps: int) -> Tensor | None:
        """Return the training rows (n,), or (members, n), whose outputs `state` has within an epoch.

        None before the first step, and for full-batch training.

        Args:
            run: the run.
            epoch: the number of epochs before this one.
            steps: the number of steps in it so far.
        """
        if not steps or self.experiments[run].config.trainer.batch_size == "full":
            return None
        return Orders(self.steps, self.seeds_of(run)).rows_until(epoch, steps)

    def resume_epoch(self, epoch: int, steps: int, outputs: Sequence[Tensor]) -> None:
        """Restore the outputs of the first part of an epoch.

        Args:
            epoch: the number of epochs before this one.
            steps: the number of steps in that part.
            outputs: each run's outputs (n, width), from its checkpoint.
        """
        rows: Rows = slice(None)
        if self._configs[0].trainer.batch_size != "full":
            rows = self.data.table_rows(self.orders.rows_until(epoch, steps))
        with self.context:
            self.epoch_outputs.restore(rows, outputs)
