"""The network as a torch module, and its initialisation."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mlpkit.config.config import Config
from mlpkit.config.init import InitConfig
from mlpkit.data.dataset import Dataset
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.randomness import generator
from mlpkit.data.scaling import Affine
from mlpkit.data.views import Views
from mlpkit.errors import ConfigError
from mlpkit.models.architecture import LARGEST, architecture, count
from mlpkit.models.torch_inputs import InputScale, PeriodicEmbedding
from mlpkit.models.torch_layers import Dropout, Scaling, Temperature, Unscaling, UnscalingRates
from mlpkit.models.torch_members import MemberInputs, MemberOutputs, MemberScale, linear_of, member_layers
from mlpkit.models.torch_own import OwnModule


class Network(nn.Module):
    """Maps raw inputs (rows, features) to outputs (rows, width), or (M, rows, width) of M members.

    Attributes:
        scaling: first layer: standardises the inputs, or is the identity.
        layers: the trained layers.
        unscaling: last layer: converts regression outputs to the targets' unit, or is the identity.
        members: M, the number of members that share weights; 0: it is a single network.
        predicted: the number of outputs of `layers` that are predictions, the first ones; the others are
            further quantiles of the same targets (`LossConfig.ends`). None: all outputs are predictions.
        views: those of an image whose mean prediction is taken; None: the image alone is predicted.
    """

    def __init__(
        self,
        layers: nn.Sequential,
        scaling: nn.Module | None,
        unscaling: nn.Module | None,
        predicted: int | None = None,
        views: Views | None = None,
    ) -> None:
        """Put the layers between the two scaling layers; None stands for the identity."""
        super().__init__()
        self.predicted, self.views = predicted, views
        self.scaling = scaling or nn.Identity()
        self.layers = layers
        self.unscaling = unscaling or nn.Identity()
        last = layers[-1] if len(layers) else None
        self.members = len(last.weight) if isinstance(last, MemberOutputs) else 0

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits, or values in the targets' unit."""
        return self.predictions(self.layers(self.scaling(inputs)))

    def predictions(self, outputs: Tensor) -> Tensor:
        """Return the logits or values (rows, predicted) of the outputs (rows, width) of `layers`."""
        predictions: Tensor = self.unscaling(outputs[..., : self.predicted])
        return predictions

    def all_values(self, outputs: Tensor) -> Tensor:
        """Return the outputs (rows, width) of `layers`, with all quantiles in the targets' unit."""
        return self._of_each(self.unscaling, outputs)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.parameters()).dtype

    def standardize(self, targets: Tensor) -> Tensor:
        """Return the targets as the loss needs them, mostly in the unit of the outputs of `layers`."""
        return self.unscaling.standardize(targets) if isinstance(self.unscaling, Unscaling) else targets

    def before_unscaling(self, outputs: Tensor) -> Tensor:
        """Return the outputs of `layers` that become these values; the inverse of `all_values`."""
        if not isinstance(self.unscaling, Unscaling):
            return outputs
        return self._of_each(self.unscaling.inverse, outputs)

    def _of_each(self, function: Callable[[Tensor], Tensor], outputs: Tensor) -> Tensor:
        """Apply a function of the predictions (rows, predicted) to them and to each further quantile."""
        if self.predicted is None:
            return function(outputs)
        return torch.cat([function(part) for part in torch.split(outputs, self.predicted, -1)], -1)

    def alone(self) -> "list[Network]":
        """Return the networks whose mean is predicted, with copies of the weights; or itself.

        They are the members, and of each member a network for each view, whose first layer moves the image.
        """
        each = [self.layers]
        if self.members:
            each = [nn.Sequential(*member_layers(self.layers, member)) for member in range(self.members)]
        if self.views is not None:
            each = [self._of_view(layers, view) for layers in each for view in range(len(self.views))]
        if len(each) == 1:
            return [self]
        return [Network(layers, self.scaling, self.unscaling, self.predicted) for layers in each]

    def _of_view(self, layers: nn.Sequential, view: int) -> nn.Sequential:
        """Return layers that do with scaled images what these do with a view of them."""
        first, *others = layers
        assert isinstance(first, nn.Linear) and self.views is not None  # see `check_views`
        black = self.black(first.in_features)
        return nn.Sequential(
            linear_of(*self.views.into_layer(view, first.weight, first.bias, black)), *others
        )

    def black(self, pixels: int) -> Tensor:
        """Return a black image (pixels,), scaled."""
        with torch.no_grad():
            black: Tensor = self.scaling(next(self.parameters()).new_zeros(1, pixels))[0]
        return black

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
        first, last = (layer.make(device) if layer else None for layer in (scaling, unscaling))
        made = nn.Sequential(*(layer.make(device) for layer in by_name.values()))
        return Network(
            made,
            first,
            last,
            input_schema.width if config.loss.ends else None,
            views_of(config, input_schema),
        )


def views_of(config: Config, input_schema: InputSchema) -> Views | None:
    """Return the views of an image whose mean prediction is taken, or None."""
    options = config.dataset.views()
    return None if options is None else Views(options, input_schema.input_shape)


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
    with_weights = [layer for layer in layers if isinstance(layer, nn.Linear | MemberOutputs)]
    fan_in = 0  # of the last linear layer
    for layer in layers:
        if isinstance(layer, nn.Linear | MemberOutputs):
            fan_in, factor = layer.in_features, config.output_factor if layer is with_weights[-1] else 1.0
            if isinstance(layer, nn.Linear):
                _fill_linear(layer.weight, layer.bias, config, random, factor)
                continue
            for weight, bias in zip(layer.weight, layer.bias, strict=True):
                _fill_linear(weight, bias, config, random, factor)
        elif isinstance(layer, PeriodicEmbedding | InputScale | MemberInputs):
            layer.initialize(random)
        elif isinstance(layer, MemberScale):
            with torch.no_grad():
                nn.init.ones_(layer.scale)
                if layer.bias is not None:  # at first the same for all members, as in the paper's code
                    first = torch.empty(layer.bias.shape[1])
                    _fill_bias(first, config, random, fan_in)
                    layer.bias.copy_(first)
        elif isinstance(layer, nn.PReLU):
            with torch.no_grad():
                layer.weight.fill_(layer.init)
        elif isinstance(layer, nn.BatchNorm1d | nn.LayerNorm):
            with torch.no_grad():
                nn.init.ones_(layer.weight)
                nn.init.zeros_(layer.bias)
                for name, running in layer.named_buffers():
                    running.fill_(1.0 if name == "running_var" else 0.0)


@torch.no_grad()
def _fill_linear(
    weight: Tensor, bias: Tensor | None, config: InitConfig, random: torch.Generator, factor: float
) -> None:
    """Draw the weights (out, in), times a factor, and the biases (out,) of a linear layer."""
    out_features, in_features = weight.shape
    weights, biases = torch.empty(weight.shape), torch.empty(out_features)
    config.fill(weights, random)
    weight.copy_(weights * factor)
    _fill_bias(biases, config, random, in_features)
    if bias is not None:
        bias.copy_(biases)


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
