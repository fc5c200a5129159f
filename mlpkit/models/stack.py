"""Linear layers with norm, activation and dropout between them."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mlpkit.randomness import derived_seed

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}


class Dropout(nn.Module):
    """Inverted dropout whose mask comes from a private generator.

    In training each unit is zeroed with probability `rate` and the others are divided by 1 - rate, so
    that evaluation leaves the units as they are (Srivastava et al. 2014; torch Dropout, which can only
    draw from the global generator).
    """

    def __init__(self, rate: float, device: str) -> None:
        """Make the generator on the device of the units."""
        super().__init__()
        self.rate = rate
        self.random = torch.Generator(device)

    def forward(self, units: Tensor) -> Tensor:
        """Return the units (rows, width), some of them dropped when training."""
        if not self.training:
            return units
        mask = torch.empty_like(units).bernoulli_(1 - self.rate, generator=self.random)
        return units * mask.div_(1 - self.rate)

    def extra_repr(self) -> str:
        """Return what repr shows."""
        return f"rate={self.rate}"


def stack(
    widths: Sequence[int],
    bias: bool,
    activation: str = "identity",
    norm: str = "none",
    dropout: float = 0.0,
    device: str = "cpu",
) -> nn.Sequential:
    """Return linear layers of the widths; norm, activation and dropout follow all but the last."""
    layers: list[nn.Module] = []
    last = len(widths) - 2
    for index, (fan_in, fan_out) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(fan_in, fan_out, bias=bias))
        if index == last:
            break
        if norm == "batch":
            layers.append(nn.BatchNorm1d(fan_out))
        elif norm == "layer":
            layers.append(nn.LayerNorm(fan_out))
        layers.append(ACTIVATIONS[activation]())
        if dropout:
            layers.append(Dropout(dropout, device))
    return nn.Sequential(*layers)


def seed_dropout(generators: Sequence[torch.Generator], seed: int, epoch: int, step: int) -> None:
    """Make the next masks a function of (seed, layer, epoch, step)."""
    for layer, random in enumerate(generators):
        random.manual_seed(derived_seed(seed, f"dropout/{layer}", epoch, step))
