"""The trained layers as modules of torch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlpkit.architecture import Layer
from mlpkit.randomness import derived_seed


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


def stack(layers: Sequence[Layer], dropout: float = 0.0, device: str = "cpu") -> nn.Sequential:
    """Return the modules of the trained layers, in their order.

    Args:
        layers: what is wanted.
        dropout: rate of the dropout layers.
        device: of their generators.
    """
    return nn.Sequential(*(_module(layer, dropout, device) for layer in layers))


def _module(layer: Layer, dropout: float, device: str) -> nn.Module:
    if layer.kind == "Linear":
        return nn.Linear(layer.below, layer.width, bias="bias" in layer.parameters)
    if layer.kind == "Dropout":
        return Dropout(dropout, device)
    kind: type[nn.Module] = getattr(nn, layer.kind)
    return kind(layer.width) if layer.parameters else kind()


def seed_dropout(generators: Sequence[torch.Generator], seed: int, epoch: int, step: int) -> None:
    """Make the next masks a function of (seed, layer, epoch, step)."""
    for layer, random in enumerate(generators):
        random.manual_seed(derived_seed(seed, f"dropout/{layer}", epoch, step))
