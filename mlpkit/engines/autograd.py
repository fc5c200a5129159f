"""Gradients of K networks of any layers, by torch's autograd."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlpkit.engines.batches import Rows
from mlpkit.engines.device_data import DeviceData
from mlpkit.engines.matmul import Matmul
from mlpkit.engines.own_modules import OwnModules
from mlpkit.engines.parameters import Flat
from mlpkit.models.torch_layers import Dropout
from mlpkit.models.torch_network import Network
from mlpkit.models.torch_own import OwnModule

Forward = Callable[[Tensor, bool], Tensor]  # (activations (K, n, in), training) -> activations (K, n, out)
Randoms = Sequence[torch.Generator] | None


class AutogradGradients:
    """Lets autograd write the gradients; see `mlpkit.engines.gradients.Gradients`.

    One network is differentiated as it is. Of several, torch's linear layers and norms are computed side by
    side; for any other layer see `OwnModules`.
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
        """Let parameters ask for gradients where these are wanted; see `ManualGradients`.

        Args:
            networks: of the runs.
            parameters: theirs.
            gradients: (K · P), where gradients are written.
            data: of the runs.
            matmul: how products are computed.
            running: averages that batch norms keep.
            counters: of the batches that they have seen.
        """
        self.networks, self.gradients, self.data, self.matmul = networks, gradients, data, matmul
        for run, network in enumerate(networks):
            slopes = parameters.of(gradients, run)
            for name, parameter in network.named_parameters():
                parameter.grad = slopes[name]
        # Switching modes walks over all modules, which a tiny model feels; most have nothing to switch.
        modal = Dropout | nn.BatchNorm1d | OwnModule
        self.has_modes = any(isinstance(layer, modal) for layer in networks[0].layers)
        kept = (running, counters)
        self.batched = [] if len(networks) == 1 else _batched(networks, parameters, gradients, *kept)
        self.flag, self.one = torch.zeros(2, 1, device=gradients.device).unbind()
        self.one.fill_(1)
        self.context = torch.no_grad()

    def fill(self, rows: Rows, count: int, add: bool, randoms: Randoms) -> Tensor:
        """See `Gradients.fill`."""
        data, train = self.data, self.data.splits["train"]
        inputs = data.whole("train", "inputs") if isinstance(rows, slice) else train.inputs[rows]
        if randoms is not None:
            changed = list(data.augment(inputs, randoms))
            inputs = changed[0] if data.runs == 1 else torch.stack(changed)
        if not add:
            self.gradients.zero_()
        with torch.enable_grad(), self.matmul.everywhere():
            outputs = self._forward(inputs, training=True)
            scaled = data.of_rows("train", "scaled", rows)
            losses = data.loss.per_example(outputs.reshape(-1, data.width), scaled)
            # Each run's mean over the step's rows; with a gradient of one's own backward loads sympy, 0.5 s.
            (losses.sum() * (1 / count)).backward()  # type: ignore[no-untyped-call]
        self.losses = losses.detach()
        # In memory as those of a checkpoint, so that losses are added up in the same order.
        return outputs.detach().mT.contiguous()

    def is_suspicious(self) -> bool:
        """See `Gradients.is_suspicious`.

        The operation is torch's own for scaled gradients: one pass that divides by one and sets a flag.
        """
        self.flag.zero_()
        torch._amp_foreach_non_finite_check_and_unscale_([self.losses, self.gradients], self.flag, self.one)
        return bool(self.flag.item())

    def outputs(self, split: str, start: int, stop: int) -> Tensor:
        """See `Gradients.outputs`."""
        with self.matmul.everywhere():
            return self._forward(self.data.inputs_of(split, start, stop), training=False)

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
    """Return what computes the layers of K > 1 networks side by side."""
    slopes, found = parameters.views(gradients), []
    leaves = {}
    for name, values in parameters.views(parameters.values).items():
        leaves[name] = values.detach().requires_grad_()
        leaves[name].grad = slopes[name]
    kept = running.views(running.values) | counters.views(counters.values)
    for index, modules in enumerate(zip(*(network.layers for network in networks), strict=True)):
        module, name = modules[0], f"layers.{index}."
        if isinstance(module, nn.Linear):
            found.append(_linear(leaves[f"{name}weight"], leaves.get(f"{name}bias")))
        elif isinstance(module, nn.LayerNorm):
            found.append(_layer_norm(module, leaves[f"{name}weight"], leaves[f"{name}bias"]))
        elif isinstance(module, nn.BatchNorm1d):
            tensors = (leaves[f"{name}weight"], leaves[f"{name}bias"])
            averages = (kept[f"{name}{of}"] for of in ("running_mean", "running_var", "num_batches_tracked"))
            found.append(_batch_norm(module, *tensors, *averages))
        elif not any(True for _ in module.parameters()) and not isinstance(module, Dropout):
            found.append(_alike(module))
        else:
            names = [of for of, _ in module.named_parameters()]
            found.append(OwnModules(modules, {of: leaves[f"{name}{of}"] for of in names}))
    return found


def _alike(module: nn.Module) -> Forward:
    """A layer without parameters is the same for all networks."""
    return lambda activations, training: module(activations)


def _linear(weight: Tensor, bias: Tensor | None) -> Forward:
    """(K, n, in) -> (K, n, out) with weights (K, out, in) and biases (K, out)."""
    if bias is None:
        return lambda activations, training: torch.bmm(activations, weight.mT)
    return lambda activations, training: torch.baddbmm(bias[:, None], activations, weight.mT)


def _layer_norm(module: nn.LayerNorm, weight: Tensor, bias: Tensor) -> Forward:
    shape, eps = module.normalized_shape, module.eps
    return lambda activations, training: torch.addcmul(
        bias[:, None], F.layer_norm(activations, list(shape), eps=eps), weight[:, None]
    )


def _batch_norm(
    module: nn.BatchNorm1d, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, seen: Tensor
) -> Forward:
    """Return one norm over the K · width channels of K layers."""
    mean, variance, weight, bias = (values.view(-1) for values in (mean, variance, weight, bias))
    momentum, eps = module.momentum, module.eps
    assert momentum is not None

    def forward(activations: Tensor, training: bool) -> Tensor:
        runs, rows, width = activations.shape
        if training:
            seen.add_(1)
        channels = activations.transpose(0, 1).reshape(rows, runs * width)
        normed = F.batch_norm(channels, mean, variance, weight, bias, training, momentum, eps)
        return normed.view(rows, runs, width).transpose(0, 1)

    return forward
