"""Any nn.Module, differentiated by autograd and updated by torch.optim."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mlpkit.batches import Rows
from mlpkit.config import Config
from mlpkit.data.augment import Augmentation
from mlpkit.data.dataset import Split
from mlpkit.engines.data import DeviceData, NetworkEngine
from mlpkit.engines.flag import Flag
from mlpkit.errors import diverged
from mlpkit.matmul import EXACT, Matmul
from mlpkit.models import Network
from mlpkit.models.dropout import Dropout, seed_dropout
from mlpkit.randomness import generator
from mlpkit.schema.optimizer import Adam, AdamW, OptimizerConfig
from mlpkit.tasks import Task


class AutogradEngine(NetworkEngine):
    """The engine for every model; see `mlpkit.engines.Engine` for what its methods promise."""

    name = "autograd"

    def __init__(
        self,
        network: Network,
        task: Task,
        splits: Mapping[str, Split],
        config: Config,
        device: str,
        augmentation: Augmentation | None = None,
        matmul: Matmul = EXACT,
    ) -> None:
        """Move everything to the device and make the optimizer."""
        self.network, self.task, self.device, self.matmul = network, task, device, matmul
        self.seed, trainer = config.seed, config.trainer
        self.batch_size, self.clip_norm, self.clip_value = (
            trainer.batch_size,
            trainer.clip_norm,
            trainer.clip_value,
        )
        self.dropout = network.dropout_generators()
        # Switching modes walks over all modules, which a tiny model feels; most have nothing to switch.
        self.has_modes = any(isinstance(layer, Dropout | nn.BatchNorm1d) for layer in network.modules())
        self.parameters = list(network.parameters())
        self.optimizer = build_optimizer(config.optimizer, self.parameters)
        self.data = DeviceData(network, task, splits, device, augmentation)
        self.seen: list[tuple[Rows, Tensor, Tensor]] = []  # rows, losses, outputs since the last collect
        self.norm: Tensor | None = None
        self.flag, self.waits = Flag(device), True
        if device != "cpu":
            self.never_wait()

    def never_wait(self) -> None:
        """Let the device see by itself what is not finite, and the optimizer ask it; see `Flag`."""
        self.waits = False
        self.optimizer.found_inf = self.flag.value[0]  # type: ignore[attr-defined]  # which torch's scaler sets

    def step(self, rows: Rows, rate: float, epoch: int, step: int, measure: bool) -> None:
        """See `Engine.step`."""
        network, parameters = self.network, self.parameters
        self.flag.begin(step, epoch)
        if self.has_modes:
            network.train()
        seed_dropout(self.dropout, self.seed, epoch, step)
        chunks: tuple[Rows, ...]
        if isinstance(rows, slice):
            count, chunks = len(self.data.inputs["train"]), (rows,)
        else:
            count, chunks = len(rows), torch.split(rows, int(self.batch_size))
        random = None
        if self.data.augmentation is not None:
            random = generator(self.seed, "augment", epoch, step, self.device)
        step_losses = []
        for chunk in chunks:
            inputs, targets = self.data.inputs["train"][chunk], self.data.scaled["train"][chunk]
            if random is not None:
                inputs = self.data.augment(inputs, random)
            with self.matmul.everywhere():
                outputs = network.layers(inputs)
                losses = self.task.loss(outputs, targets)
                # The gradient of the mean over the step's rows, without the operations of a mean.
                losses.backward(torch.full_like(losses, 1 / count))  # type: ignore[no-untyped-call]
            step_losses.append(losses.detach())
            self.seen.append((chunk, step_losses[-1], outputs.detach()))
        self._check(step_losses, epoch, step)
        if measure:
            self.norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(parameters, self.clip_value)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _check(self, losses: list[Tensor], epoch: int, step: int) -> None:
        """Stop before the optimizer where a loss or a gradient is not finite; a device is not waited for.

        The operation is torch's own for scaled gradients: one pass that divides by one and sets a flag.
        Sums or norms of each tensor would take several times as long.
        """
        gradients: list[Tensor] = [p.grad for p in self.parameters]  # type: ignore[misc]  # all are trained
        self.flag.note([*losses, *gradients])
        if not self.waits:
            self.flag.count()
            return
        if not self.flag.value.item():
            return
        if not all(bool(values.isfinite().all()) for values in losses):
            what = "the loss"
        else:
            named = self.network.named_parameters()
            what = "the gradient of " + next(
                name for name, p in named if p.grad is not None and not bool(p.grad.isfinite().all())
            )
        raise diverged(step + 1, epoch + 1, f"{what} is not finite")

    def settle(self) -> None:
        """See `NetworkEngine.settle`."""
        if not self.waits:
            self.flag.read()

    def collect(self) -> dict[str, float]:
        """See `Engine.collect`; scores are computed once for all rows, which costs a step nothing."""
        self.settle()
        chunks, losses, outputs = zip(*self.seen, strict=True)
        self.seen = []
        targets = self.data.targets["train"]
        if not isinstance(chunks[0], slice):
            targets = targets[torch.cat(chunks)]
        return self.data.scores(torch.cat(losses), torch.cat(outputs), targets)

    def gradient_norm(self) -> float:
        """See `Engine.gradient_norm`."""
        return float(self.norm) if self.norm is not None else 0.0

    def optimizer_state(self) -> dict[str, Tensor]:
        """See `Engine.optimizer_state`; named `<parameter>/<what>`, as in `layers.0.weight/exp_avg`."""
        named = {}
        for name, parameter in self.network.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                if value is not None:
                    named[f"{name}/{key}"] = torch.as_tensor(value).detach().clone()
        return named

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        """See `Engine.load_optimizer_state`."""
        parameters = dict(self.network.named_parameters())
        self.optimizer.state.clear()
        for name, value in state.items():
            parameter, _, key = name.rpartition("/")
            of_parameter = self.optimizer.state[parameters[parameter]]
            of_parameter[key] = value.to(self.device, copy=True)

    def epoch_state(self) -> dict[str, Tensor]:
        """See `Engine.epoch_state`."""
        state = {} if self.norm is None else {"gradient_norm": self.norm.clone()}
        if self.seen:
            chunks, losses, outputs = zip(*self.seen, strict=True)
            state |= {"losses": torch.cat(losses), "outputs": torch.cat(outputs)}
            if not isinstance(chunks[0], slice):
                state["rows"] = torch.cat(chunks)
        return state

    def load_epoch_state(self, state: dict[str, Tensor]) -> None:
        """See `Engine.load_epoch_state`."""
        state = {name: value.to(self.device, copy=True) for name, value in state.items()}
        self.norm, self.seen = state.get("gradient_norm"), []
        if "losses" in state:
            rows = state.get("rows", slice(None))
            self.seen = [(rows, state["losses"], state["outputs"])]


def build_optimizer(config: OptimizerConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return torch's optimizer; fused, which updates all parameters in one pass."""
    if isinstance(config, Adam | AdamW):
        kind = torch.optim.Adam if isinstance(config, Adam) else torch.optim.AdamW
        return kind(
            parameters,
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=True,
        )
    return torch.optim.SGD(
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        dampening=config.dampening,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
        fused=True,
    )
