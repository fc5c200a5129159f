"""Gradients of K networks with any layers, by torch's autograd."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlpkit.data.augment import Draws, mix
from mlpkit.engines.batches import Rows
from mlpkit.engines.device_data import DeviceData
from mlpkit.engines.matmul import Matmul
from mlpkit.engines.mean_outputs import average_all, average_members
from mlpkit.engines.own_modules import OwnModules
from mlpkit.engines.parameters import Flat
from mlpkit.models.torch_layers import Dropout, set_dropout_share
from mlpkit.models.torch_network import Network
from mlpkit.models.torch_own import OwnModule

Forward = Callable[[Tensor, bool], Tensor]  # (activations (K, n, in), training) -> activations (K, n, out)
Randoms = Sequence[Draws] | None


class AutogradGradients:
    """Computes gradients with autograd; see `mlpkit.engines.gradients.Gradients`.

    For K = 1 the network itself is called. For K > 1 linear layers and norms are batched over the networks;
    `OwnModules` computes other layers that have parameters.
    """

    name = "autograd"

    def __init__(
        self,
        networks: Sequence[Network],
        parameters: Flat,
        gradients: Tensor,
        data: DeviceData,
        matmul: Matmul,
        running: Flat,
        counters: Flat,
    ) -> None:
        """Make each parameter's `grad` a view of the gradient buffer.

        Args:
            networks: the runs' networks.
            parameters: the networks' parameters.
            gradients: (K · P), the buffer that gradients are written to.
            data: the runs' data.
            matmul: the precision of matrix products.
            running: the running means and variances of batch norms.
            counters: the `num_batches_tracked` of batch norms.
        """
        self.networks, self.gradients, self.data, self.matmul = networks, gradients, data, matmul
        self.members = networks[0].members
        for run, network in enumerate(networks):
            views = parameters.of_run(gradients, run)
            for name, parameter in network.named_parameters():
                parameter.grad = views[name]
        # `train()` visits every module, which slows a tiny model; most models have no layer with modes.
        with_modes = Dropout | nn.BatchNorm1d | OwnModule
        self.has_modes = any(isinstance(layer, with_modes) for layer in networks[0].layers)
        buffers = (running, counters)
        self.batched = [] if len(networks) == 1 else _batched(networks, parameters, gradients, *buffers)
        self.flag, self.one = torch.zeros(2, 1, device=gradients.device).unbind()
        self.one.fill_(1)
        self.context = torch.no_grad()

    def fill(self, rows: Rows, count: int, add: bool, randoms: Randoms) -> Tensor:
        """See `Gradients.fill`."""
        data, train = self.data, self.data.splits["train"]
        inputs = data.all_rows("train", "inputs") if isinstance(rows, slice) else train.inputs[rows]
        mixing: tuple[Tensor, Tensor] | None = None
        if randoms is not None:
            augmented = list(data.augment(inputs, randoms))
            if data.mixes:
                mixing = data.mixing(len(augmented[0]), randoms)
                augmented = list(map(mix, augmented, *mixing))
            inputs = augmented[0] if data.runs == 1 else torch.stack(augmented)
        if not add:
            self.gradients.zero_()
        with torch.enable_grad(), self.matmul.for_all_products():
            outputs = self._forward(inputs, training=True)
            each = outputs.unbind(-3) if self.members else (outputs,)
            of_each = [
                data.losses(own, "train", rows) if mixing is None else data.mixed_losses(own, rows, *mixing)
                for own in each
            ]
            losses = torch.stack(of_each).mean(0) if self.members else of_each[0]
            # The mean over the step's rows, for each run. Passing `gradient=` to backward would import sympy
            # (0.5 s).
            (losses.sum() * (1 / count)).backward()  # type: ignore[no-untyped-call]
        self.losses = losses.detach()
        found = average_members(data, outputs.detach()) if self.members else outputs.detach()
        # The memory layout of outputs in a checkpoint, so that losses are summed in the same order.
        return found.mT.contiguous()

    def table_has_changed(self) -> None:
        """See `Gradients.table_has_changed`; nothing of it is kept here."""

    def take_share(self, batch: int, first: int) -> None:
        """See `Gradients.take_share`."""
        set_dropout_share(self.networks, batch, first)

    def is_suspicious(self) -> bool:
        """See `Gradients.is_suspicious`.

        Uses the operation of torch's GradScaler: one pass that divides by 1 and sets a flag.
        """
        self.flag.zero_()
        torch._amp_foreach_non_finite_check_and_unscale_([self.losses, self.gradients], self.flag, self.one)
        return bool(self.flag.item())

    def outputs(self, split: str, start: int, stop: int) -> Tensor:
        """See `Gradients.outputs`."""
        with self.matmul.for_all_products():
            outputs = self._forward(self.data.inputs_of(split, start, stop), training=False)
            return average_all(self.data, outputs)

    def _forward(self, activations: Tensor, training: bool) -> Tensor:
        if not self.batched:
            network = self.networks[0]
            if self.has_modes:
                network.train(training)
            outputs: Tensor = network.layers(activations)
            return outputs
        activations = activations.expand(len(self.networks), -1, -1)
        for layer in self.batched:
            activations = layer(activations, training)
        return activations


def _batched(
    networks: Sequence[Network], parameters: Flat, gradients: Tensor, running: Flat, counters: Flat
) -> list[Forward]:
    """Return the forward functions of the layers of K > 1 networks, batched over the networks."""
    views, layers = parameters.views(gradients), []
    leaves = {}
    for name, values in parameters.views(parameters.values).items():
        leaves[name] = values.detach().requires_grad_()
        leaves[name].grad = views[name]
    buffers = running.views(running.values) | counters.views(counters.values)
    for index, modules in enumerate(zip(*(network.layers for network in networks), strict=True)):
        module, name = modules[0], f"layers.{index}."
        if isinstance(module, nn.Linear):
            layers.append(_linear(leaves[f"{name}weight"], leaves.get(f"{name}bias")))
        elif isinstance(module, nn.LayerNorm):
            layers.append(_layer_norm(module, leaves[f"{name}weight"], leaves[f"{name}bias"]))
        elif isinstance(module, nn.BatchNorm1d):
            tensors = (leaves[f"{name}weight"], leaves[f"{name}bias"])
            own = ("running_mean", "running_var", "num_batches_tracked")
            layers.append(_batch_norm(module, *tensors, *(buffers[f"{name}{each}"] for each in own)))
        elif not any(True for _ in module.parameters()) and not isinstance(module, Dropout):
            layers.append(_shared(module))
        else:
            names = [own for own, _ in module.named_parameters()]
            layers.append(OwnModules(modules, {own: leaves[f"{name}{own}"] for own in names}))
    return layers


def _shared(module: nn.Module) -> Forward:
    """Return the forward function of a layer without parameters, which all networks share."""
    return lambda activations, training: module(activations)


def _linear(weight: Tensor, bias: Tensor | None) -> Forward:
    """Return (K, n, in) -> (K, n, out) for weights (K, out, in) and biases (K, out)."""
    if bias is None:
        return lambda activations, training: torch.bmm(activations, weight.mT)
    return lambda activations, training: torch.baddbmm(bias[:, None], activations, weight.mT)


def _layer_norm(module: nn.LayerNorm, weight: Tensor, bias: Tensor) -> Forward:
    shape, eps = module.normalized_shape, module.eps
    return lambda activations, training: torch.addcmul(
        bias[:, None], F.layer_norm(activations, list(shape), eps=eps), weight[:, None]
    )


def _batch_norm(
    module: nn.BatchNorm1d, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, tracked: Tensor
) -> Forward:
    """Return K batch norms, computed as one with K · width channels."""
    mean, variance, weight, bias = (values.view(-1) for values in (mean, variance, weight, bias))
    momentum, eps = module.momentum, module.eps
    assert momentum is not None

    def forward(activations: Tensor, training: bool) -> Tensor:
        runs, rows, width = activations.shape
        if training:
            tracked.add_(1)
        channels = activations.transpose(0, 1).reshape(rows, runs * width)
        normed = F.batch_norm(channels, mean, variance, weight, bias, training, momentum, eps)
        return normed.view(rows, runs, width).transpose(0, 1)

    return forward
