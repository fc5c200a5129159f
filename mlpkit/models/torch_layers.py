"""Layers that torch.nn does not have: standardisation, own activations, dropout from a private generator."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from mlpkit.config.activation import ActivationConfig
from mlpkit.data.dataset import Affine
from mlpkit.data.randomness import derived_seed

SHARES = 2**16  # 16 random bits per unit: four units share a 64-bit number, since drawing numbers is slow


class Scaling(nn.Module):
    """Standardises each column: (values - mean) / std. Both are buffers, saved with the weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, values: Affine) -> None:
        """Keep copies of the mean and the standard deviation."""
        super().__init__()
        self.register_buffer("mean", values.mean.clone())
        self.register_buffer("std", values.std.clone())

    def set(self, values: Affine) -> None:
        """Copy another mean and standard deviation, of the same shape."""
        with torch.no_grad():
            self.mean.copy_(values.mean)
            self.std.copy_(values.std)

    def forward(self, values: Tensor) -> Tensor:
        """Return the standardised values (rows, columns)."""
        return (values - self.mean).div_(self.std)


class Unscaling(Scaling):
    """The inverse: values · std + mean."""

    def forward(self, values: Tensor) -> Tensor:
        """Return the values (rows, columns) in their own unit."""
        return values * self.std + self.mean

    def inverse(self, values: Tensor) -> Tensor:
        """Return the standardised values (rows, columns)."""
        return super().forward(values)


class Function(nn.Module):
    """Module of an activation that torch.nn does not have."""

    def __init__(self, activation: ActivationConfig) -> None:
        """Store the activation."""
        super().__init__()
        self.activation = activation

    def forward(self, activations: Tensor) -> Tensor:
        """Return f(z), elementwise."""
        return self.activation.function(activations)

    def _get_name(self) -> str:
        return type(self.activation).__name__


def name_of(layer: nn.Module) -> str:
    """Return the name of a layer's kind, as shown in its repr."""
    return str(layer._get_name())  # type: ignore[no-untyped-call]


class Dropout(nn.Module):
    """Inverted dropout with a private generator (Srivastava et al. 2014).

    In training each unit is zeroed with probability `rate`, rounded to 1/65536, and the others are divided by
    1 - rate; evaluation changes nothing. torch.nn.Dropout can only draw from the global generator, and its
    draws take nine times as long on a CPU.
    """

    def __init__(self, rate: float, device: str) -> None:
        """Create the generator on the device of the activations."""
        super().__init__()
        self.rate = rate
        self.random = torch.Generator(device)

    def forward(self, activations: Tensor) -> Tensor:
        """Return the activations (rows, width), in training with some units zeroed."""
        if not self.training:
            return activations
        mask = torch.empty_like(activations.mT, memory_format=torch.contiguous_format)
        for operation in self.draw(mask):
            operation()
        return activations * mask.mT

    def draw(self, mask: Tensor) -> list[Callable[[], object]]:
        """Return the operations that fill a mask (width, rows) with 0 and 1 / (1 - rate)."""
        dropped = min(round(self.rate * SHARES), SHARES - 1)
        numbers = torch.empty(-(-mask.numel() // 4), dtype=torch.int64, device=mask.device)
        shares = numbers.view(torch.int16)[: mask.numel()].view(mask.shape)
        return [
            partial(numbers.random_, -(2**63), None, generator=self.random),
            partial(shares.ge_, dropped - SHARES // 2),
            partial(mask.copy_, shares),
            partial(mask.mul_, SHARES / (SHARES - dropped)),
        ]

    def extra_repr(self) -> str:
        """Return the text for repr."""
        return f"rate={self.rate}"


def seed_dropout(generators: Sequence[torch.Generator], seed: int, epoch: int, step: int) -> None:
    """Seed the generators, so that the next masks are a function of (seed, layer, epoch, step)."""
    for layer, random in enumerate(generators):
        random.manual_seed(derived_seed(seed, f"dropout/{layer}", epoch, step))
