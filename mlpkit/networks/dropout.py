"""Dropout whose masks are a function of (seed, layer, epoch, step)."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from mlpkit.data.randomness import derived_seed

SHARES = 2**16  # a unit draws 16 bits: four units share a number of 64, since numbers are what takes time


class Dropout(nn.Module):
    """Inverted dropout whose mask comes from a private generator.

    In training each unit is zeroed with probability `rate`, to the nearest 1/65536, and the others are
    divided by 1 - rate, so that evaluation leaves the units as they are (Srivastava et al. 2014; torch
    Dropout, which can only draw from the global generator, and takes nine times as long for it on a CPU).
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
        mask = torch.empty_like(units.mT, memory_format=torch.contiguous_format)
        for operation in self.draw(mask):
            operation()
        return units * mask.mT

    def draw(self, mask: Tensor) -> list[Callable[[], object]]:
        """Return the operations that fill a mask (width, rows) with 0 and 1 / (1 - rate)."""
        dropped = min(round(self.rate * SHARES), SHARES - 1)  # of all shares
        numbers = torch.empty(-(-mask.numel() // 4), dtype=torch.int64, device=mask.device)
        shares = numbers.view(torch.int16)[: mask.numel()].view(mask.shape)
        return [
            partial(numbers.random_, -(2**63), None, generator=self.random),
            partial(shares.ge_, dropped - SHARES // 2),
            partial(mask.copy_, shares),
            partial(mask.mul_, SHARES / (SHARES - dropped)),
        ]

    def extra_repr(self) -> str:
        """Return what repr shows."""
        return f"rate={self.rate}"


def seed_dropout(generators: Sequence[torch.Generator], seed: int, epoch: int, step: int) -> None:
    """Make the next masks a function of (seed, layer, epoch, step)."""
    for layer, random in enumerate(generators):
        random.manual_seed(derived_seed(seed, f"dropout/{layer}", epoch, step))
