"""The layers that a config asks for: names, kinds and shapes, known before memory is taken, without torch."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from mlpkit.config.config import Config
from mlpkit.config.model import Layer, ModelConfig, Shape
from mlpkit.config.registry import choices
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

LARGEST = 500_000_000  # parameters: 8 GB with gradients and Adam's averages


def architecture(config: Config, input_schema: InputSchema) -> list[Layer]:
    """Return the layers of the network, the scalings at both ends among them.

    Raises:
        ConfigError: the model does not fit the dataset's task.
    """
    _check_task(config.model, input_schema.task, config.dataset.name)
    features, width = len(input_schema.features), input_schema.width
    layers = config.model.layers(features, width)
    if layers is None:
        from mlpkit.models.torch_own import own_layer  # which needs torch

        layers = [own_layer(config.model, features, width, config.seed)]
    found = [replace(layer, name=f"layers.{index}") for index, layer in enumerate(layers)]
    if config.dataset.scales_inputs():
        found.insert(0, _scaling("scaling", "Scaling", features))
    if config.dataset.standardize and input_schema.task == "regression":
        found.append(_scaling("unscaling", "Unscaling", width))
    return found


def hidden_widths(model: ModelConfig) -> tuple[int, ...]:
    """Return the widths of the hidden layers; none where the model builds its own module."""
    return tuple(layer.out_features for layer in model.layers(1, 1) or () if layer.kind == "Linear")[:-1]


def tensors(layers: list[Layer]) -> dict[str, tuple[Shape, bool]]:
    """Return the shape of each of the network's tensors, and whether it holds floating-point numbers."""
    return {
        f"{layer.name}.{name}": (shape, name not in layer.counters)
        for layer in layers
        for name, shape in (layer.parameters | layer.buffers | layer.counters).items()
    }


def parameters(layers: list[Layer]) -> dict[str, Shape]:
    """Return the shape of each of the network's trained tensors."""
    return {f"{layer.name}.{name}": shape for layer in layers for name, shape in layer.parameters.items()}


def count(layers: list[Layer]) -> int:
    """Return the number of trained values."""
    return sum(math.prod(shape) for shape in parameters(layers).values())


def _scaling(name: str, kind: str, width: int) -> Layer:
    def make(device: str) -> "nn.Module":
        import torch

        from mlpkit.data.dataset import Affine
        from mlpkit.models.torch_layers import Scaling, Unscaling

        values = Affine(torch.zeros(width), torch.zeros(width))
        return Scaling(values) if kind == "Scaling" else Unscaling(values)

    shapes: dict[str, Shape] = {"mean": (width,), "std": (width,)}
    return Layer(kind, width, width, make, buffers=shapes, keeps_zeros=True, name=name)


def _check_task(model: ModelConfig, task: str, dataset: str) -> None:
    if task not in model.tasks:
        kind = "regression" if task == "regression" else f"{task} classification"
        others = [
            name for name, of in choices("model").items() if issubclass(of, ModelConfig) and task in of.tasks
        ]
        use = " or ".join(f"model={name}" for name in others)
        raise ConfigError(f"model={model.name}: dataset={dataset} is a {kind}; use {use}")
