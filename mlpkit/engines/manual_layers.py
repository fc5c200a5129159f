"""The layers of networks as the gradients by hand need them: views of parameters, gradients and buffers."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from mlpkit.engines.activations import in_place_activation
from mlpkit.engines.batch_norm import batch_norm_of, is_usual_norm
from mlpkit.engines.input_layers import InputLayer
from mlpkit.engines.linear_layer import LinearLayer
from mlpkit.engines.member_layers import member_scale_of
from mlpkit.engines.parameters import Flat
from mlpkit.engines.prelu import Slope
from mlpkit.models.torch_inputs import InputScale, PeriodicEmbedding
from mlpkit.models.torch_layers import Dropout, name_of
from mlpkit.models.torch_members import MemberInputs, MemberOutputs, MemberScale
from mlpkit.models.torch_network import Network

BEFORE = (PeriodicEmbedding, InputScale, MemberInputs)  # before the first linear layer, in this order


def layers_of(
    networks: Sequence[Network], parameters: Flat, gradients: Tensor, running: Flat, counters: Flat
) -> list[LinearLayer]:
    """Return the networks' layers, with views of their parameters, gradients and buffers."""
    weights, gradient_views = parameters.views(parameters.values), parameters.views(gradients)
    buffers = running.views(running.values) | counters.views(counters.values)
    layers: list[LinearLayer] = []
    for index, modules in enumerate(zip(*(network.layers for network in networks), strict=True)):
        module = modules[0]
        if isinstance(module, nn.Linear | MemberOutputs):
            weight, bias = f"layers.{index}.weight", f"layers.{index}.bias"
            columns = [
                views[bias][..., None] if bias in views else None for views in (weights, gradient_views)
            ]
            widths = tuple(own.out_features for own in modules)
            members = len(module.weight) if isinstance(module, MemberOutputs) else 0
            tensors = weights[weight], columns[0], gradient_views[weight], columns[1]
            layers.append(LinearLayer(*tensors, widths=widths, members=members))
        elif isinstance(module, BEFORE):
            continue
        elif isinstance(module, Dropout):
            layers[-1] = replace(layers[-1], dropout=modules)
        elif isinstance(module, MemberScale):
            scale, last = member_scale_of(f"layers.{index}.", weights, gradient_views), layers[-1]
            layers[-1] = replace(last, factor=scale) if module.bias is None else replace(last, norm=scale)
        elif isinstance(module, nn.PReLU):
            slope, gradient = (of[f"layers.{index}.weight"][..., None] for of in (weights, gradient_views))
            layers[-1] = replace(layers[-1], slope=Slope(slope, gradient))
        elif isinstance(module, nn.BatchNorm1d):
            layers[-1] = replace(
                layers[-1], norm=batch_norm_of(module, f"layers.{index}.", weights, gradient_views, buffers)
            )
        else:
            layers[-1] = replace(layers[-1], activation=in_place_activation(module))
    return layers


def input_layers_of(network: Network, parameters: Flat, gradients: Tensor) -> list[InputLayer]:
    """Return the layers before the first linear one, with views of their parameters and gradients."""
    weights, slopes = parameters.views(parameters.values), parameters.views(gradients)
    found = []
    for index, module in enumerate(network.layers):
        if not isinstance(module, BEFORE):
            break
        names = {name: f"layers.{index}.{name}" for name, _ in module.named_parameters()}
        values, of_loss = ({name: views[full] for name, full in names.items()} for views in (weights, slopes))
        numbers = module.numbers.to(gradients.device) if isinstance(module, PeriodicEmbedding) else None
        members = len(module.scale) if isinstance(module, MemberInputs) else 0
        found.append(InputLayer(values, of_loss, numbers, members))
    return found


def unsupported_layer(layers: nn.Sequential) -> str | None:
    """Return the name of the first layer whose gradient is not derived by hand, or None."""
    before: nn.Module | None = None
    for place, layer in enumerate(layers, 1):
        known = isinstance(layer, (nn.Linear, nn.PReLU, Dropout, MemberScale, MemberOutputs, *BEFORE))
        known = known or in_place_activation(layer) is not None
        # A batch norm only between a linear layer and an activation, with all that torch's has by default.
        is_usual = isinstance(before, nn.Linear) and place < len(layers) and is_usual_norm(layer)
        if not known and not is_usual:
            return name_of(layer)
        before = layer
    return None
