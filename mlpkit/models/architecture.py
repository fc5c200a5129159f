"""The layers that a config asks for: names, kinds and shapes, known before memory is taken, without torch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from mlpkit.config.config import Config
from mlpkit.config.model import MlpModel, ModelConfig
from mlpkit.data.signature import Signature
from mlpkit.errors import ConfigError

ACTIVATIONS = {  # torch's classes
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "identity": "Identity",
}
NORMS = {"batch": "BatchNorm1d", "layer": "LayerNorm"}

LARGEST = 500_000_000  # parameters: 8 GB with gradients and Adam's averages

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        name: as in a checkpoint.
        kind: the name of its class.
        below: width of its inputs.
        width: of its outputs.
        parameters: shapes of what is trained, by name.
        buffers: shapes of what is not.
    """

    name: str
    kind: str
    below: int
    width: int
    parameters: dict[str, Shape]
    buffers: dict[str, Shape]


def architecture(config: Config, signature: Signature) -> list[Layer]:
    """Return the layers of the network, the scalings at both ends among them.

    Raises:
        ConfigError: the model does not go with the signature's task.
    """
    _check_task(config.model.name, signature.task, config.dataset.name)
    features, width, standardize = len(signature.features), signature.width, config.dataset.standardize
    found = []
    if standardize:
        found.append(_scaling("scaling", "Scaling", features))
    trained = _trained(config.model, features, width)
    found += [
        Layer(f"layers.{index}", kind, below, above, parameters, buffers)
        for index, (kind, below, above, parameters, buffers) in enumerate(trained)
    ]
    if standardize and signature.task == "regression":
        found.append(_scaling("unscaling", "Unscaling", width))
    return found


def tensors(layers: list[Layer]) -> dict[str, tuple[Shape, bool]]:
    """Return the shape of each of the network's tensors, and whether it holds floating-point numbers."""
    return {
        f"{layer.name}.{name}": (shape, name != "num_batches_tracked")
        for layer in layers
        for name, shape in (layer.parameters | layer.buffers).items()
    }


def parameters(layers: list[Layer]) -> dict[str, Shape]:
    """Return the shape of each of the network's trained tensors."""
    return {f"{layer.name}.{name}": shape for layer in layers for name, shape in layer.parameters.items()}


def count(layers: list[Layer]) -> int:
    """Return the number of trained values."""
    return sum(math.prod(shape) for shape in parameters(layers).values())


def _scaling(name: str, kind: str, width: int) -> Layer:
    return Layer(name, kind, width, width, {}, {"mean": (width,), "std": (width,)})


def _trained(
    model: ModelConfig, features: int, width: int
) -> Iterator[tuple[str, int, int, dict[str, Shape], dict[str, Shape]]]:
    """Yield linear layers; norm, activation and dropout follow all but the last."""
    hidden = model.hidden if isinstance(model, MlpModel) else ()  # a linear model is a stack of one layer
    widths = (features, *hidden, width)
    for index, (below, above) in enumerate(pairwise(widths)):
        bias: dict[str, Shape] = {"bias": (above,)} if model.bias else {}
        yield "Linear", below, above, {"weight": (above, below), **bias}, {}
        if not isinstance(model, MlpModel) or index == len(hidden):
            return
        if model.norm != "none":
            own: dict[str, Shape] = {"weight": (above,), "bias": (above,)}
            running: dict[str, Shape] = {
                "running_mean": (above,),
                "running_var": (above,),
                "num_batches_tracked": (),
            }
            yield NORMS[model.norm], above, above, own, running if model.norm == "batch" else {}
        yield ACTIVATIONS[model.activation], above, above, {}, {}
        if model.dropout:
            yield "Dropout", above, above, {}, {}


def _check_task(model: str, task: str, dataset: str) -> None:
    if model == "linear" and task != "regression":
        raise ConfigError(
            f"model=linear: dataset={dataset} is a {task} classification; use model=logistic or model=mlp"
        )
    if model == "logistic" and task == "regression":
        raise ConfigError(f"model=logistic: dataset={dataset} is a regression; use model=linear or model=mlp")
