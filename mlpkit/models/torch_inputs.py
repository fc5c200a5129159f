"""Layers before the first linear one: a periodic embedding of numbers, and a factor for each input."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn


class PeriodicEmbedding(nn.Module):
    """Adds to the inputs a few values for each number x among them: W cos(2π f x + φ) + b, all trained.

    This is PBLD of RealMLP (Holzmüller et al. 2024, arXiv 2407.04491), without an activation. A linear layer
    can bend a number only where its units do; with the waves it can treat any range of it in its own way.

    Attributes:
        numbers: (N,) the places of the embedded inputs.
        frequency: (N, frequencies), f.
        phase: (N, frequencies), φ.
        weight: (N, width, frequencies), W.
        bias: (N, width), b.
    """

    def __init__(
        self, numbers: Sequence[int], frequencies: int, width: int, std: float | tuple[float, float]
    ) -> None:
        """Create the parameters, whose values `initialize` draws.

        Args:
            numbers: the places of the inputs that are numbers; the others stay as they are.
            frequencies: the number of waves for each.
            width: the number of values that are added for each.
            std: the standard deviation of the first frequencies; or the lowest and the highest one: each
                wave of a number then has its own, all in equal ratios.
        """
        super().__init__()
        self.numbers, self.std = torch.tensor(numbers, device="cpu"), std
        self.frequency = nn.Parameter(torch.empty(len(numbers), frequencies))
        self.phase = nn.Parameter(torch.empty(len(numbers), frequencies))
        self.weight = nn.Parameter(torch.empty(len(numbers), width, frequencies))
        self.bias = nn.Parameter(torch.empty(len(numbers), width))

    def initialize(self, random: torch.Generator) -> None:
        """Draw f from a normal distribution, φ from all angles, and W and b as nn.Linear does."""
        bound = 1 / math.sqrt(self.frequency.shape[1])
        uniform = nn.init.uniform_
        for parameter, fill in (
            (self.frequency, self._draw_frequencies),
            (self.phase, partial(uniform, a=-math.pi, b=math.pi)),
            (self.weight, partial(uniform, a=-bound, b=bound)),
            (self.bias, partial(uniform, a=-bound, b=bound)),
        ):
            with torch.no_grad():
                parameter.copy_(fill(torch.empty(parameter.shape), generator=random))

    def _draw_frequencies(self, into: Tensor, generator: torch.Generator) -> Tensor:
        """Fill (N, frequencies); a small f makes a long wave, which bends a number as a whole."""
        if not isinstance(self.std, tuple):
            return nn.init.normal_(into, std=self.std, generator=generator)
        low, high = map(math.log, self.std)
        return nn.init.normal_(into, generator=generator).mul_(torch.linspace(low, high, into.shape[1]).exp())

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (rows, features + N · width): the inputs, then the values of each number in turn."""
        numbers = inputs.index_select(-1, self.numbers.to(inputs.device))
        angles = (2 * math.pi) * numbers.T[..., None] * self.frequency[:, None] + self.phase[:, None]
        values = torch.baddbmm(self.bias[:, None], angles.cos(), self.weight.mT)  # (N, rows, width)
        return torch.cat([inputs, values.transpose(0, 1).flatten(1)], dim=-1)

    def extra_repr(self) -> str:
        """Return the text for repr."""
        count, width, frequencies = self.weight.shape
        return f"numbers={count}, frequencies={frequencies}, width={width}"


class InputScale(nn.Module):
    """Multiplies each input by a trained factor, 1 at first; its steps are `lr_factor` times as long.

    With long steps the factors of useless inputs fall soon: the network selects its inputs.
    """

    def __init__(self, features: int, lr_factor: float) -> None:
        """Create the factors."""
        super().__init__()
        self.lr_factor = lr_factor
        self.scale = nn.Parameter(torch.empty(features))

    def initialize(self, random: torch.Generator) -> None:
        """Set all factors to 1."""
        nn.init.ones_(self.scale)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs (rows, features), each times its factor."""
        return inputs * self.scale

    def extra_repr(self) -> str:
        """Return the text for repr."""
        return f"features={len(self.scale)}, lr_factor={self.lr_factor:g}"


def lr_factors(networks: Sequence[nn.Module]) -> dict[str, list[float]]:
    """Return each network's factor for every parameter whose steps are longer or shorter than others."""
    found = {}
    for places in zip(*(network.named_modules() for network in networks), strict=True):
        name, layers = places[0][0], [layer for _, layer in places]
        factors = [layer.lr_factor for layer in layers if isinstance(layer, InputScale)]
        if any(factor != 1 for factor in factors):
            found[f"{name}.scale"] = factors
    return found
