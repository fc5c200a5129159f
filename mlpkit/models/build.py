"""Config and signature in, initialised network out."""

import torch
from torch import Tensor, nn

from mlpkit.config.config import Config
from mlpkit.config.model import MlpModel
from mlpkit.data.dataset import Affine, Dataset
from mlpkit.data.randomness import generator
from mlpkit.data.signature import Signature
from mlpkit.errors import ConfigError
from mlpkit.models.architecture import LARGEST, architecture
from mlpkit.models.dropout import Dropout
from mlpkit.models.init import initialize
from mlpkit.models.scaling import Scaling, Unscaling
from mlpkit.models.stack import stack


class Network(nn.Module):
    """Raw inputs (rows, features) to raw outputs (rows, width).

    Attributes:
        scaling: the first layer; standardises inputs, or leaves them as they are.
        layers: what is trained.
        unscaling: the last layer; brings regression outputs back to the targets' unit, or does nothing.
    """

    def __init__(self, layers: nn.Sequential, scaling: Affine | None, unscaling: Affine | None) -> None:
        """Put the layers between the two scalings."""
        super().__init__()
        self.scaling: nn.Module = Scaling(scaling) if scaling else nn.Identity()
        self.layers = layers
        self.unscaling: nn.Module = Unscaling(unscaling) if unscaling else nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits, or values in the targets' unit."""
        outputs: Tensor = self.unscaling(self.layers(self.scaling(inputs)))
        return outputs

    def standardize(self, targets: Tensor) -> Tensor:
        """Return targets in the unit of what `layers` puts out, which the loss compares."""
        return self.unscaling.inverse(targets) if isinstance(self.unscaling, Unscaling) else targets

    def dropout_generators(self) -> list[torch.Generator]:
        """Return the generators of the dropout layers, in the layers' order."""
        return [layer.random for layer in self.modules() if isinstance(layer, Dropout)]


def build_model(config: Config, dataset: Dataset, device: str = "cpu") -> Network:
    """Return the network for a dataset, initialised as a function of `config.seed`.

    Raises:
        ConfigError: the model does not go with the dataset's task.
    """
    network = build_network(config, dataset.signature, device)
    if (count := count_parameters(network)) > LARGEST:
        raise ConfigError(f"model: {count:,} parameters; mlpkit trains up to {LARGEST:,}, make it smaller")
    _allocate(network, device)
    initialize(network.layers, config.init, generator(config.seed, "init"))
    for layer, values in (
        (network.scaling, dataset.input_scaling),
        (network.unscaling, dataset.target_scaling),
    ):
        if isinstance(layer, Scaling | Unscaling) and values is not None:
            layer.set(values)
    dtype = torch.float64 if config.trainer.precision == "float64" else torch.float32
    return network.to(dtype)


def build_network(config: Config, signature: Signature, device: str = "cpu") -> Network:
    """Return the network's structure on torch's meta device: shapes without memory or values.

    Raises:
        ConfigError: the model does not go with the signature's task.
    """
    by_name = {layer.name: layer for layer in architecture(config, signature)}
    scaling, unscaling = by_name.pop("scaling", None), by_name.pop("unscaling", None)
    dropout = config.model.dropout if isinstance(config.model, MlpModel) else 0.0
    with torch.device("meta"):
        ends = (
            Affine(torch.zeros(layer.width), torch.zeros(layer.width)) if layer else None
            for layer in (scaling, unscaling)
        )
        return Network(stack(list(by_name.values()), dropout, device), *ends)


def _allocate(network: nn.Module, device: str) -> None:
    """Give the network memory; torch's `to_empty` would load its symbolic shapes, which takes 0.3 s."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(torch.empty(parameter.shape, device=device)))
        for name, values in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(values.shape, dtype=values.dtype, device=device))


def count_parameters(network: nn.Module) -> int:
    """Return the number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())
