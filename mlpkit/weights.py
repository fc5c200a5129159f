"""The weights of a model that is small enough to be read."""

import torch
from torch import nn

from mlpkit.models import Network, count_parameters
from mlpkit.signature import Signature

FEW = 10  # parameters


def readable_weights(network: Network, signature: Signature) -> list[tuple[str, float]]:
    """Return (name, value) of each weight and bias, or nothing where there are more than FEW.

    A linear model's are named after the features and given for raw inputs and outputs, whatever the
    scaling inside: w = w' · σ_y / σ_x and b = b' · σ_y + μ_y - Σ w μ_x.
    """
    if count_parameters(network) > FEW:
        return []
    if len(network.layers) == 1 and len(signature.features) <= FEW:
        layer = network.layers[0]
        assert isinstance(layer, nn.Linear)
        weight, bias = _unscaled(network, layer)
        rows = signature.targets if signature.task == "regression" else signature.classes[-len(weight) :]
        named = []
        for row, name in enumerate(rows):
            prefix = f"{name}: " if len(rows) > 1 else ""
            named += [(f"{prefix}{f}", float(weight[row, i])) for i, f in enumerate(signature.features)]
            named.append((f"{prefix}bias", float(bias[row])))
        return named
    return [
        (f"{name}{list(index)}", float(parameter[tuple(index)]))
        for name, parameter in network.named_parameters()
        for index in torch.cartesian_prod(*(torch.arange(n) for n in parameter.shape))
        .reshape(-1, parameter.ndim)
        .tolist()
    ]


def _unscaled(network: Network, layer: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
    weight = layer.weight.detach().double().cpu()
    bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach()
    bias = bias.double().cpu()
    buffers = {name: tensor.double().cpu() for name, tensor in network.named_buffers()}
    if "unscaling.std" in buffers:
        weight = weight * buffers["unscaling.std"].unsqueeze(1)
        bias = bias * buffers["unscaling.std"] + buffers["unscaling.mean"]
    if "scaling.std" in buffers:
        weight = weight / buffers["scaling.std"]
        bias = bias - weight @ buffers["scaling.mean"]
    return weight, bias
