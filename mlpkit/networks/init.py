"""First values of weights and biases, drawn from a private generator."""

import math

import torch
from torch import nn

from mlpkit.config.init import InitConfig


def initialize(layers: nn.Sequential, config: InitConfig, random: torch.Generator) -> None:
    """Fill every layer: linear ones as the config says, norms with ones and zeros.

    Draws happen on the CPU in the layers' order, so that the values are the same on every device.
    """
    for layer in layers:
        if isinstance(layer, nn.Linear):
            weight, bias = torch.empty(layer.weight.shape), torch.empty(layer.out_features)
            config.fill(weight, random)
            _fill_bias(bias, config, random, layer.in_features)
            with torch.no_grad():
                layer.weight.copy_(weight)
                if layer.bias is not None:
                    layer.bias.copy_(bias)
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
    else:
        nn.init.constant_(bias, config.bias)
