"""The engine with a compiled step: gradients, clipping, update and scores of an epoch in one call.

It uses the buffers of `Engine`, so checkpoints, resuming and the removal of runs work alike. `Engine`
computes everything that is not compiled, and repeats any step in which a value is not finite.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlpkit.config.config import Config
from mlpkit.config.loss import LossConfig
from mlpkit.config.metric import metric_names
from mlpkit.data.dataset import Dataset
from mlpkit.engines.batches import Rows
from mlpkit.engines.compile_plan import SETTINGS, CompilePlan
from mlpkit.engines.compiler import compiler, load, seconds
from mlpkit.engines.device_data import Sums
from mlpkit.engines.engine import Engine
from mlpkit.engines.whole_step import FUNCTIONS
from mlpkit.errors import ConfigError
from mlpkit.folders.state import Tensors
from mlpkit.losses.binary_cross_entropy import BinaryCrossEntropy
from mlpkit.losses.cross_entropy import CrossEntropy
from mlpkit.losses.mse import Mse
from mlpkit.models.architecture import hidden_widths
from mlpkit.models.torch_layers import Unscaling, name_of
from mlpkit.models.torch_network import Network
from mlpkit.optimizers.adam import Adam
from mlpkit.optimizers.adamw import AdamW
from mlpkit.optimizers.sgd import Sgd

Numbers = np.ndarray[Any, np.dtype[Any]]
Table = dict[str, Numbers]  # (K,) by the names of SETTINGS
SetSettings = Callable[[Numbers, int], None]  # (learning rates (K,), the step counted from 1) -> None

WORTH_FACTOR = 3  # compile if it saves this many times the time of compiling
SAVED_OF_EPOCH, SAVED_OF_UNIT = 40e-6, 3e-9  # seconds saved per epoch, and per activation
COMPILED = Sgd, Adam, AdamW  # optimizers implemented in `WholeStep`
COMPILED_LOSSES = Mse, BinaryCrossEntropy, CrossEntropy  # losses implemented in `WholeStep`
MAX_WEIGHTS = 200  # each weight is a line of the compiled code; above this, matrix products are as fast


class CompiledEngine(Engine):
    """See `Engine`; `obstacle_to_compiling` checks whether runs can use it."""

    def _allocate(self, networks: Sequence[Network]) -> None:
        super()._allocate(networks)
        self._monitored = self.experiments[0].dataset.monitored
        self._compiled_step = load(plan_of(self, self._rows(), self._is_shared()))
        flat, optimizer = self.parameters, [self._configs[run].optimizer for run in range(self.runs)]
        buffers = (flat.values, *self.optimizers.averages.values(), flat.average)
        self._settings = torch.zeros(len(SETTINGS), self.runs, dtype=flat.values.dtype)
        table = dict(zip(SETTINGS, self._settings.numpy(), strict=True))
        make = _sgd if isinstance(optimizer[0], Sgd) else _adam
        self._set_settings = make(table, optimizer)
        for name, limits in (("norm_limit", self.clip.norm_limits), ("value_limit", self.clip.value_limits)):
            if limits is not None:
                table[name][:] = limits.view(-1).numpy()
        table["weight_decay"][:] = weight_decays_of(self._configs)
        self._arguments = [part for each in buffers if each is not None for part in flat.stacked(each)]
        self._arguments += [self._settings, *self._columns("train"), *self._columns(self._monitored)]
        self._arguments += self._unscale()
        self._sizes = [block.stop - block.first for block in self.optimizers.blocks]
        self._counters = [
            steps for block in self.optimizers.blocks for steps in block.update.buffers.numbers.values()
        ]
        self._sums_of_step: dict[str, Tensor] = {}  # of the last step; empty once weights change otherwise

    def step(self, rows: Rows, lrs: Sequence[float], epoch: int, step: int, measure: bool) -> dict[int, str]:
        """See `Engine.step`."""
        begun = self.optimizers.blocks[0].update.buffers.begun
        steps = (int(self._counters[0]) if self._counters else int(begun)) + 1
        self._set_settings(np.repeat(np.asarray(lrs), self._sizes), steps)
        if self.average is not None:
            self._settings[SETTINGS.index("average_share")].fill_(self.average(epoch, step))
        outputs, norms, finite, before, after = self._compiled_step(list(self._arguments))
        self._sums_of_step = {}
        if not finite:  # the compiled step has changed nothing
            return super().step(rows, lrs, epoch, step, measure)
        for counter in self._counters:
            counter.fill_(steps)
        for block in self.optimizers.blocks:
            block.update.buffers.begun = True
        if measure:
            self.clip.norms = norms
        self.epoch_outputs.add(rows, outputs if self.runs > 1 else outputs[0])
        self._sums_of_step = {"before": before, "after": after}
        return {}

    def collect(self) -> Sums:
        """See `Engine.collect`."""
        if "before" not in self._sums_of_step:
            return super().collect()
        self.epoch_outputs.clear()
        return self._sums("before")

    def evaluate(self, split: str, poll: Callable[[], None] = lambda: None) -> Sums:
        """See `Engine.evaluate`."""
        if split != self._monitored or "after" not in self._sums_of_step:
            return super().evaluate(split, poll)
        return self._sums("after")

    def swap_best(self) -> None:
        """See `Engine.swap_best`."""
        self._sums_of_step = {}
        super().swap_best()

    def load_state(self, run: int, state: Mapping[str, Tensors]) -> None:
        """See `Engine.load_state`."""
        self._sums_of_step = {}
        super().load_state(run, state)

    def _sums(self, when: str) -> Sums:
        sums = self._sums_of_step.pop(when)
        return sums[:, 0].tolist() if self.runs == 1 else sums.numpy()

    @property
    def uses_threads(self) -> bool:
        """See `Engine.uses_threads`; the number of threads is fixed when the step is compiled."""
        return False

    def _engine_class(self, runs: Sequence[int], to_end: bool) -> type[Engine]:
        """Return `Engine` if the remaining runs would need another compiled step: it is never recompiled."""
        remaining = [self._configs[run] for run in runs]
        return Engine if to_end or traits_of(remaining) != traits_of(self._configs) else CompiledEngine

    # ------------------------------------------------------------------ arguments of the compiled step

    def _rows(self) -> tuple[int, int]:
        return self.data.rows, self.data.splits[self._monitored].rows

    def _is_shared(self) -> bool:
        return all(self.data.splits[name].indices is None for name in ("train", self._monitored))

    def _columns(self, split: str) -> list[Tensor]:
        """Return the inputs, expected outputs, targets and weights of a split, each (1 or K, …, rows)."""
        data, part, task = self.data, self.data.splits[split], self.task
        expected = data.loss.expected(part.scaled, data.width, data.dtype)
        columns = [data.all_rows(split, "inputs"), data.all_rows(split, "expected", expected)]
        columns.append(data.all_rows(split, "targets") if task.name == "regression" else columns[1])
        weights = data.weights_of(split, slice(None))
        columns += [] if weights is None else [weights[..., None]]
        columns = [values if values.dim() == 3 else values[None] for values in columns]
        if not self._is_shared():
            columns = [values.expand(self.runs, -1, -1) for values in columns]
        return [values.mT.contiguous() for values in columns]

    def _unscale(self) -> list[Tensor]:
        ends = [network.unscaling for network in self.data.networks]
        affine = [end for end in ends if isinstance(end, Unscaling)]
        columns = [torch.stack([getattr(end, name) for end in affine]) for name in ("std", "mean") if affine]
        return [column.view(self.runs, -1, 1) for column in columns]


def plan_of(engine: Engine, rows: tuple[int, int], is_shared: bool) -> CompilePlan:
    """Return the plan of the compiled step for an engine's runs."""
    configs = [experiment.config for experiment in engine.experiments]
    optimizer, (_, limits, decays) = configs[0].optimizer, traits_of(configs)
    network = engine.experiments[0].network
    weights = [shape for shape in engine.parameters.shapes.values() if len(shape) == 2]
    return CompilePlan(
        widths=(weights[0][1], *(shape[0] for shape in weights)),
        activations=tuple(activations_of(network.layers)),
        bias=len(engine.parameters.shapes) > len(weights),
        task=engine.task.name,
        loss=engine.data.loss.name,
        rows=rows,
        shared=is_shared,
        optimizer=optimizer.name,
        momentum=isinstance(optimizer, Sgd) and optimizer.momentum > 0,
        nesterov=isinstance(optimizer, Sgd) and optimizer.nesterov,
        decays=decays,
        averages=engine.average is not None,
        limits=limits,
        unscales=isinstance(network.unscaling, Unscaling),
        weighted=engine.data.splits["train"].weights is not None,
        dtype=configs[0].trainer.precision,
        threads=torch.get_num_threads(),
    )


def traits_of(configs: Sequence[Config]) -> tuple[Any, ...]:
    """Return the properties in `CompilePlan` that may change when runs are removed."""
    trainers = [config.trainer for config in configs]
    limits = any(trainer.clip_norm for trainer in trainers), any(trainer.clip_value for trainer in trainers)
    return widest_hidden(configs), limits, any(weight_decays_of(configs))


def weight_decays_of(configs: Sequence[Config]) -> list[float]:
    """Return the weight decay of each run's optimizer; all optimizers that can be compiled have one."""
    return [config.optimizer.weight_decay for config in configs if isinstance(config.optimizer, COMPILED)]


def widest_hidden(configs: Sequence[Config]) -> tuple[int, ...]:
    """Return the hidden widths that all runs are padded to."""
    widths = [hidden_widths(config.model) for config in configs]
    return tuple(map(max, zip(*widths, strict=True)))


def activations_of(layers: nn.Sequential) -> list[str]:
    """Return the name of the activation after each linear layer but the last; Identity if there is none."""
    names: list[str] = []
    for layer in layers:
        if isinstance(layer, nn.Linear):
            names.append("Identity")
        else:
            names[-1] = type(layer).__name__
    return names[:-1]


def obstacle_to_compiling(
    configs: Sequence[Config], network: Network, loss: LossConfig, device: str, augments: bool
) -> str | None:
    """Return the reason why the steps of these runs cannot be compiled, or None if they can."""
    first, optimizers = configs[0], [config.optimizer for config in configs]
    kinds = {(each.name, bool(each.slots()), isinstance(each, Sgd) and each.nesterov) for each in optimizers}
    unknown = [optimizer.name for optimizer in optimizers if type(optimizer) not in COMPILED]
    linear = [layer for layer in network.layers if isinstance(layer, nn.Linear)]
    ends = (linear[0].in_features, linear[-1].out_features) if linear else ()
    widths = *ends[:1], *widest_hidden(configs), *ends[1:]
    most, weights = MAX_WEIGHTS, sum(inputs * outputs for inputs, outputs in pairwise(widths))
    unsupported = [layer for layer in network.layers if type(layer).__name__ not in ("Linear", *FUNCTIONS)]
    reasons = {
        "it is for a CPU": device != "cpu",
        "it is for trainer.batch_size=full": first.trainer.batch_size != "full",
        "it is not for trainer.engine=autograd": first.trainer.engine == "autograd",
        f"it knows no {name_of(unsupported[0])} layers" if unsupported else "": bool(unsupported),
        f"it does not know optimizer={unknown[0]}" if unknown else "": bool(unknown),
        f"it does not know loss={loss.name}": type(loss) not in COMPILED_LOSSES,
        "it does not know loss.label_smoothing": isinstance(loss, CrossEntropy) and loss.label_smoothing > 0,
        "it averages no model.members": first.model.members > 1,
        "it does not compute run.metrics": bool(metric_names(first)),
        "it keeps no gradients, which run.histograms shows": first.run.histograms is not None,
        "it is not for changed images": augments or network.views is not None,
        "the runs have several kinds of optimizers": len(kinds) > 1,
        "it does not know several labels": isinstance(loss, BinaryCrossEntropy) and ends[1:] != (1,),
        "it does not know dataset.target_transform": first.dataset.transform_of_targets() != "none",
        "it does not know dataset.clip_predictions": first.dataset.clips_predictions(),
        f"it is for up to {most} weights between units, the model has {weights:,}": weights > most,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def is_compiled(
    configs: Sequence[Config], dataset: Dataset, obstacle: str | None, before: bool | None = None
) -> bool:
    """Return whether to compile the steps, from the amount of work and the stored time of compiling.

    Args:
        configs: the runs' configs.
        dataset: the dataset of one run.
        obstacle: the result of `obstacle_to_compiling`.
        before: whether resumed runs were compiled before; `auto` keeps it.

    Raises:
        ConfigError: trainer.compile=true, but there is an obstacle.
    """
    wanted, hidden = configs[0].trainer.compile, widest_hidden(configs)
    if wanted is True and obstacle:
        raise ConfigError(f"trainer.compile=true: {obstacle}; set trainer.compile=auto")
    if isinstance(wanted, bool) or obstacle:
        return wanted is True
    if before is not None:
        return before
    rows = sum(len(dataset.splits[name]) for name in ("train", dataset.monitored))
    units = len(configs) * rows * (sum(hidden) + dataset.input_schema.width)
    saved = configs[0].trainer.epochs * (SAVED_OF_EPOCH + SAVED_OF_UNIT * units)
    return saved > WORTH_FACTOR * seconds() and compiler() is not None


def _adam(table: Table, optimizers: Sequence[Any]) -> SetSettings:
    """Return the function that writes the settings of an Adam or AdamW step."""
    beta1, beta2 = np.array([optimizer.betas for optimizer in optimizers]).T
    table["first_weight"][:], table["decay"][:], table["second_weight"][:] = 1 - beta1, beta2, 1 - beta2
    table["eps"][:] = [optimizer.eps for optimizer in optimizers]

    def set_settings(lrs: Numbers, steps: int) -> None:
        table["lr"][:] = lrs
        table["step_size"][:] = lrs / (1 - beta1**steps)
        table["bias_correction2_sqrt"][:] = np.sqrt(1 - beta2**steps)

    return set_settings


def _sgd(table: Table, optimizers: Sequence[Any]) -> SetSettings:
    """Return the function that writes the settings of an SGD step; as in torch, the first has no momentum."""
    momentum, dampening = np.array([(each.momentum, each.dampening) for each in optimizers]).T
    table["second_weight"][:] = momentum

    def set_settings(lrs: Numbers, steps: int) -> None:
        table["lr"][:] = lrs
        table["decay"][:] = momentum * (steps > 1)
        table["first_weight"][:] = 1 - dampening * (steps > 1)

    return set_settings
