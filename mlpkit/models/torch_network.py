"""The network as a torch module, and its initialisation."""

import math

import torch
from torch import Tensor, nn

from mlpkit.config.config import Config
from mlpkit.config.init import InitConfig
from mlpkit.data.dataset import Affine, Dataset
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.randomness import generator
from mlpkit.errors import ConfigError
from mlpkit.models.architecture import LARGEST, architecture, count
from mlpkit.models.torch_inputs import InputScale, PeriodicEmbedding
from mlpkit.models.torch_layers import Dropout, Scaling, Temperature, Unscaling, UnscalingRates
from mlpkit.models.torch_own import OwnModule


class Network(nn.Module):
    """Maps raw inputs (rows, features) to outputs (rows, width).

    Attributes:
        scaling: first layer: standardises the inputs, or is the identity.
        layers: the trained layers.
        unscaling: last layer: converts regression outputs to the targets' unit, or is the identity.
    """

    def __init__(self, layers: nn.Sequential, scaling: nn.Module | None, unscaling: nn.Module | None) -> None:
        """Put the layers between the two scaling layers; None stands for the identity."""
        super().__init__()
        self.scaling = scaling or nn.Identity()
        self.layers = layers
        self.unscaling = unscaling or nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits, or values in the targets' unit."""
        outputs: Tensor = self.unscaling(self.layers(self.scaling(inputs)))
        return outputs

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.parameters()).dtype

    def standardize(self, targets: Tensor) -> Tensor:
        """Return the targets as the loss needs them, mostly in the unit of the outputs of `layers`."""
        return self.unscaling.standardize(targets) if isinstance(self.unscaling, Unscaling) else targets

    def before_unscaling(self, outputs: Tensor) -> Tensor:
        """Return the outputs of `layers` that become these outputs."""
        return self.unscaling.inverse(outputs) if isinstance(self.unscaling, Unscaling) else outputs

    def calibrate(self, temperature: float, width: int) -> None:
        """Divide the logits by a temperature in a last layer; 1 needs none."""
        if temperature != 1:
            self.layers.append(Temperature(temperature, width, self.dtype))

    @property
    def temperature(self) -> float:
        """The temperature that the logits are divided by."""
        last = self.layers[-1]
        return last.temperature if isinstance(last, Temperature) else 1.0

    def dropout_generators(self) -> list[torch.Generator]:
        """Return the generators of all layers that draw random numbers, in order."""
        return [layer.random for layer in self.layers if isinstance(layer, Dropout | OwnModule)]

    def saved_buffers(self) -> dict[str, Tensor]:
        """Return the persistent buffers of the layers, which checkpoints hold."""
        saved = self.state_dict()
        buffers = self.layers.named_buffers(prefix="layers")
        return {name: buffer for name, buffer in buffers if name in saved}


def build_model(config: Config, dataset: Dataset, device: str = "cpu") -> Network:
    """Return the network for a dataset, initialised from `config.seed`.

    Raises:
        ConfigError: the model does not fit the dataset's task or the initialisation, or is too large.
    """
    network = build_network(config, dataset.input_schema, device)
    is_own = any(isinstance(layer, OwnModule) for layer in network.layers)
    if is_own and config.init.name != "default":
        raise ConfigError(
            f"init={config.init.name}: model={config.model.name} draws its own weights; set init=default"
        )
    _allocate(network, device)
    initialize(network.layers, config.init, generator(config.seed, "init"))
    for layer, values in (
        (network.scaling, dataset.input_scaling),
        (network.unscaling, dataset.target_scaling),
    ):
        if isinstance(layer, UnscalingRates):
            layer.set_mean(values)
        elif isinstance(layer, Scaling) and values is not None:
            layer.set(values)
        elif isinstance(layer, Scaling):  # it only clips
            layer.set(Affine(torch.zeros_like(layer.mean), torch.ones_like(layer.mean)))
    if isinstance(network.unscaling, Unscaling):
        targets = dataset.splits["train"].targets if dataset.disk is None else dataset.disk.extremes("train")
        network.unscaling.set_range(targets)
    dtype = torch.float64 if config.trainer.precision == "float64" else torch.float32
    return network.to(dtype)


def build_network(config: Config, input_schema: InputSchema, device: str = "cpu") -> Network:
    """Return the network on torch's meta device: shapes without memory or values.

    A module that the model builds itself is allocated and initialised on the given device.

    Raises:
        ConfigError: the model does not fit the dataset's task, or is too large.
    """
    layers = architecture(config, input_schema)
    if (number := count(layers)) > LARGEST:
        raise ConfigError(f"model: {number:,} parameters; mlpkit trains up to {LARGEST:,}, make it smaller")
    by_name = {layer.name: layer for layer in layers}
    scaling, unscaling = by_name.pop("scaling", None), by_name.pop("unscaling", None)
    with torch.device("meta"):
        ends = (layer.make(device) if layer else None for layer in (scaling, unscaling))
        return Network(nn.Sequential(*(layer.make(device) for layer in by_name.values())), *ends)


def _allocate(network: nn.Module, device: str) -> None:
    """Allocate the parameters and buffers that are on the meta device.

    Torch's `to_empty` is not used: it imports torch's symbolic shapes, which takes 0.3 s.
    """
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.is_meta:
                continue
            setattr(module, name, nn.Parameter(torch.empty(parameter.shape, device=device)))
        for name, values in module.named_buffers(recurse=False):
            if not values.is_meta:
                continue
            setattr(module, name, torch.empty(values.shape, dtype=values.dtype, device=device))


def initialize(layers: nn.Sequential, config: InitConfig, random: torch.Generator) -> None:
    """Initialise all layers: linear ones with the config's initialisation, others in their own way.

    Random numbers are drawn on the CPU in the layers' order, so that they are the same on every device.
    """
    last = next((layer for layer in reversed(layers) if isinstance(layer, nn.Linear)), None)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            weight, bias = torch.empty(layer.weight.shape), torch.empty(layer.out_features)
            config.fill(weight, random)
            if layer is last:
                weight *= config.output_factor
            _fill_bias(bias, config, random, layer.in_features)
            with torch.no_grad():
                layer.weight.copy_(weight)
                if layer.bias is not None:
                    layer.bias.copy_(bias)
        elif isinstance(layer, PeriodicEmbedding | InputScale):
            layer.initialize(random)
        elif isinstance(layer, nn.BatchNorm1d | nn.LayerNorm):
            with torch.no_grad():
                nn.init.ones_(layer.weight)
                nn.init.zeros_(layer.bias)
                for name, running in layer.named_buffers():
                    running.fill_(1.0 if name == "running_var" else 0.0)


def _fill_bias(bias: torch.Tensor, config: InitConfig, random: torch.Generator, fan_in: int) -> None:
    if config.bias == "default":  # what nn.Linear.reset_parameters does
        bound = 1 / math.sqrt(fan_in)
        nn.init.uniform_(bias, -bound, bound, generator=random)
    elif config.bias_std:
        nn.init.normal_(bias, config.bias, config.bias_std, generator=random)
    else:
        nn.init.constant_(bias, config.bias)


def count_parameters(network: nn.Module) -> int:
    """Return the number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())
