"""Elastic displacements of images (Simard, Steinkraus, Platt 2003): smoothed noise that says where each
pixel is taken from.

A field for each image and step would take longer than the step. So images choose at random from a pool of
fields, which is drawn again every few epochs: a function of (seed, epoch), so that a run can be resumed.
"""

import torch
from torch import Tensor

from mlpkit.data.randomness import generator

MOST_FIELDS = 3000
MOST_NUMBERS = 5_000_000  # in the pool; larger images have fewer fields
EPOCHS = 4  # that use the same pool


class Pools:
    """The pools of several runs, each of its last epochs."""

    def __init__(self, strength: float, sigma: float, height: int, width: int) -> None:
        """Draw nothing yet.

        Args:
            strength: the largest displacement, in pixels, as root of the mean square over an image.
            sigma: the standard deviation, in pixels, of the Gaussian that smooths the noise.
            height: that of an image.
            width: that of an image.
        """
        self.strength, self.sigma, self.height, self.width = strength, sigma, height, width
        self._pools: dict[int, tuple[int, Tensor]] = {}  # by the run's seed: the period, and its pool

    def at(self, seed: int, epoch: int, like: Tensor) -> Tensor:
        """Return a run's pool (fields, 2 · height · width) at an epoch; see `draw_pool`."""
        period, pool = self._pools.get(seed, (-1, like))
        if period != epoch // EPOCHS:
            period = epoch // EPOCHS
            pool = draw_pool(self.strength, self.sigma, self.height, self.width, seed, period, like)
            self._pools[seed] = period, pool
        return pool


def draw_pool(
    strength: float, sigma: float, height: int, width: int, seed: int, period: int, like: Tensor
) -> Tensor:
    """Return fields of displacements (fields, 2 · height · width): x and y of each pixel in turn.

    They are in the units of torch's grid_sample, in which an image is 2 wide and 2 high. Each field has its
    own strength, from 0 to `strength` pixels.

    Args:
        strength: see `Pools`.
        sigma: see `Pools`.
        height: that of an image.
        width: that of an image.
        seed: the run's seed.
        period: the number of pools before this one.
        like: has the dtype and device of the images.
    """
    count = max(1, min(MOST_FIELDS, MOST_NUMBERS // (2 * height * width)))
    random = generator(seed, "elastic", period, device=like.device)
    fields = torch.randn(count, 2, height, width, generator=random, device=like.device, dtype=like.dtype)
    fields = smoothing(height, sigma, like) @ fields @ smoothing(width, sigma, like)
    strengths = torch.rand(count, 1, 1, 1, generator=random, device=like.device, dtype=like.dtype) * strength
    # The root of the mean square of a displacement's length.
    length = fields.square().sum(1, keepdim=True).mean((2, 3), keepdim=True).sqrt_()
    fields.mul_(strengths / length)
    units = like.new_tensor((2 / width, 2 / height))
    return (fields.movedim(1, -1) * units).reshape(count, -1)


def smoothing(size: int, sigma: float, like: Tensor) -> Tensor:
    """Return the matrix (size, size) that smooths a row of pixels with a Gaussian."""
    places = torch.arange(size, device=like.device, dtype=like.dtype)
    return torch.exp(-((places[:, None] - places) ** 2) / (2 * sigma**2))
