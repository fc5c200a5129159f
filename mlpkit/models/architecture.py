"""The layers of a config's model: names, kinds and shapes, without importing torch or allocating memory."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from mlpkit.config.config import Config
from mlpkit.config.model import Layer, ModelConfig, Shape
from mlpkit.config.task_fit import check_task
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

LARGEST = 500_000_000  # parameters: 8 GB with gradients and Adam's averages
UNSCALINGS = {"none": "Unscaling", "log": "UnscalingLog", "yeo_johnson": "UnscalingYeoJohnson"}
RATES = "UnscalingRates"  # of losses with a log link


def architecture(config: Config, input_schema: InputSchema) -> list[Layer]:
    """Return all layers of the network, including the scaling layers at both ends.

    Raises:
        ConfigError: the model does not fit the dataset's task.
    """
    check_task("model", config.model, input_schema.task, config.dataset.name)
    features, width = len(input_schema.features), input_schema.width
    outputs = config.loss.width(width)
    model = config.model.for_task(input_schema.task)
    before = model.input_layers(features, input_schema.numbers)
    inputs = before[-1].out_features if before else features
    layers = model.layers(inputs, outputs)
    if layers is None:
        from mlpkit.models.torch_own import own_layer  # imports torch

        layers = [own_layer(model, inputs, outputs, config.seed)]
    layers = [*before, *layers]
    found = [replace(layer, name=f"layers.{index}") for index, layer in enumerate(layers)]
    if config.dataset.scales_inputs():
        found.insert(0, _scaling("scaling", "Scaling", features))
    transform, clips = config.dataset.transform_of_targets(), config.dataset.clips_predictions()
    if config.loss.log_link:
        if transform != "none":
            raise ConfigError(
                f"dataset.target_transform={transform}: loss={config.loss.name} takes the targets as they "
                "are; leave it out"
            )
        found.append(_scaling("unscaling", RATES, width, clips))
    elif input_schema.task == "regression" and (config.dataset.standardize or transform != "none" or clips):
        found.append(_scaling("unscaling", UNSCALINGS[transform], width, clips))
    return found


def hidden_widths(model: ModelConfig) -> tuple[int, ...]:
    """Return the widths of the hidden layers; empty if the model builds its own module."""
    linear = [layer for layer in model.layers(1, 1) or () if layer.kind in ("Linear", "MemberOutputs")]
    return tuple(layer.out_features for layer in linear[:-1])


def tensors(layers: list[Layer]) -> dict[str, tuple[Shape, bool]]:
    """Return the shape of each tensor of the network, and whether it is floating-point."""
    return {
        f"{layer.name}.{name}": (shape, name not in layer.counters)
        for layer in layers
        for name, shape in (layer.parameters | layer.buffers | layer.counters).items()
    }


def parameters(layers: list[Layer]) -> dict[str, Shape]:
    """Return the shape of each parameter of the network, by name."""
    return {f"{layer.name}.{name}": shape for layer in layers for name, shape in layer.parameters.items()}


def count(layers: list[Layer]) -> int:
    """Return the number of trained weights and biases."""
    return sum(math.prod(shape) for shape in parameters(layers).values())


def _scaling(name: str, kind: str, width: int, clips: bool = False) -> Layer:
    def make(device: str) -> "nn.Module":
        import torch

        from mlpkit.data.scaling import Affine
        from mlpkit.data.target_scaling import YeoJohnsonScaling
        from mlpkit.models import torch_layers

        zeros, ones, layer = torch.zeros(width), torch.ones(width), getattr(torch_layers, kind)
        values = YeoJohnsonScaling(*[zeros] * 5) if more else Affine(zeros, ones)
        made: nn.Module = layer(values, clips=True) if clips else layer(values)
        return made

    more = ("power", "lowest", "highest") if kind == "UnscalingYeoJohnson" else ()
    names = ("mean", "std", *more, *(("least", "most") if clips else ()))
    shapes: dict[str, Shape] = dict.fromkeys(names, (width,))
    settings = "clips" if clips else ""
    return Layer(kind, width, width, make, buffers=shapes, keeps_zeros=True, settings=settings, name=name)
