"""Random augmentation of images: a whole batch at once, each image with its own draws."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mlpkit.config.dataset import Augment
from mlpkit.data.elastic import Pools


@dataclass(frozen=True)
class Draws:
    """What a run's random changes are a function of in a step.

    Attributes:
        seed: the run's seed.
        epoch: the number of epochs before this one.
        random: the generator of this step, on the images' device.
        batch: images in the whole batch if only a process's share of them is augmented; 0: it is all of them.
        first: the first of these images.
    """

    seed: int
    epoch: int
    random: torch.Generator
    batch: int = 0
    first: int = 0


class Augmentation:
    """Augments batches of images by some options.

    Attributes:
        options: the largest changes; see `mlpkit.config.dataset.Augment`.
    """

    def __init__(self, options: Augment, shape: tuple[int, ...]) -> None:
        """Take the options and the shape of an image: (height, width) or (channels, height, width)."""
        self.options, (self.channels, self.height, self.width) = options, (1, *shape)[-3:]
        self._pools = Pools(options.elastic, options.elastic_sigma, self.height, self.width)
        self._moves = any((options.rotation, options.translation, options.scale, options.elastic))
        self._basis: Tensor | None = None

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Return augmented copies of flattened images (batch, pixels), from 0 to 1.

        Pixels from outside the frame are black.
        """
        options, count = self.options, len(images)
        pictures = images.reshape(count, self.channels, self.height, self.width)
        if self._moves:
            grid = self._grid(count, draws, images)
            pictures = F.grid_sample(pictures, grid, align_corners=False, padding_mode="zeros")
        else:
            pictures = pictures.clone()
        if options.horizontal_flip:
            mirrored = self._uniform(1, count, draws, images)[0] < options.horizontal_flip
            pictures = torch.where(mirrored[:, None, None, None], pictures.flip(-1), pictures)
        if options.brightness:
            factors = 1 + self._symmetric(1, count, draws, images)[0] * options.brightness
            pictures.mul_(factors[:, None, None, None]).clamp_(max=1)
        if options.cutout:
            pictures.masked_fill_(self._squares(count, draws, images), 0)
        return pictures.view(count, -1)

    def mixing(self, count: int, draws: Draws, like: Tensor) -> tuple[Tensor, Tensor]:
        """Draw how images are mixed (mixup; Zhang et al. 2018): x ← share · x + (1 - share) · x[partner].

        The share is at least a half: the image and its target count more than its partner.

        Args:
            count: the number of images in the batch.
            draws: those of the step, after the images were augmented.
            like: has the dtype and device of the shares.

        Returns:
            Each image's partner (batch,), and its share (batch,).
        """
        partners = torch.randperm(count, generator=draws.random, device=like.device)
        both = torch.full((count, 2), self.options.mixup, device=like.device, dtype=like.dtype)
        shares = torch._sample_dirichlet(both, generator=draws.random)
        return partners, shares.amax(1)

    def _grid(self, count: int, draws: Draws, like: Tensor) -> Tensor:
        """Return the places (batch, height, width, 2) that pixels are taken from, for torch's grid_sample.

        Coordinates run from -1 to 1 along each side, so x and y differ in unit if the image is not square.
        """
        options, height, width = self.options, self.height, self.width
        drawn = self._symmetric(4, count, draws, like)
        angle = drawn[0] * math.radians(options.rotation)
        # A pixel is mapped to the place that it is taken from, so the scale is inverted.
        scale = 1 / (1 + drawn[1] * options.scale)
        cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
        shift_x, shift_y = (
            drawn[2] * (2 * options.translation / width),
            drawn[3] * (2 * options.translation / height),
        )
        rows = (cosine, -sine * (height / width), shift_x, sine * (width / height), cosine, shift_y)
        affine = torch.stack(rows, dim=1)
        if self._basis is None or self._basis.dtype != like.dtype or self._basis.device != like.device:
            self._basis = affine_basis(height, width, like)
        if options.elastic:
            pool = self._pools.at(draws.seed, draws.epoch, like)
            size = draws.batch or count
            chosen = torch.randint(len(pool), (size,), generator=draws.random, device=like.device)
            chosen = chosen[draws.first : draws.first + count]
            grid = pool.index_select(0, chosen).addmm_(affine, self._basis)
        else:
            grid = affine @ self._basis
        return grid.view(count, height, width, 2)

    def _squares(self, count: int, draws: Draws, like: Tensor) -> Tensor:
        """Return which pixels (batch, 1, height, width) are in a square around a random pixel."""
        centres, side = self._uniform(2, count, draws, like), self.options.cutout
        inside: list[Tensor] = []
        for size, centre in zip((self.height, self.width), centres, strict=True):
            first = (centre * size).floor()[:, None] - side // 2
            places = torch.arange(size, device=like.device)
            inside.append((places >= first) & (places < first + side))
        return inside[0][:, None, :, None] & inside[1][:, None, None, :]

    def _uniform(self, kinds: int, count: int, draws: Draws, like: Tensor) -> Tensor:
        """Draw numbers (kinds, batch) from 0 to 1."""
        shape, random = (kinds, draws.batch or count), draws.random
        of_batch = torch.rand(shape, generator=random, device=like.device, dtype=like.dtype)
        return of_batch[:, draws.first : draws.first + count]

    def _symmetric(self, kinds: int, count: int, draws: Draws, like: Tensor) -> Tensor:
        """Draw numbers (kinds, batch) from -1 to 1."""
        return self._uniform(kinds, count, draws, like) * 2 - 1


def affine_basis(height: int, width: int, like: Tensor) -> Tensor:
    """Return the matrix (6, 2 · height · width) that maps affine maps to grids.

    A map (a, b, c, d, e, f) takes the pixel at x and y from a x + b y + c and d x + e y + f. All maps of a
    batch in one product take a tenth of the time of torch's affine_grid.
    """
    x, y = ((torch.arange(size, device=like.device) * 2 + 1) / size - 1 for size in (width, height))
    ones = torch.ones(height, width, device=like.device)
    terms = torch.stack((x.expand(height, width), y[:, None].expand(height, width), ones))  # (3, h, w)
    basis = terms.new_zeros(6, height, width, 2)
    basis[:3, ..., 0], basis[3:, ..., 1] = terms, terms
    return basis.view(6, -1).to(like.dtype)


def mix(values: Tensor, partners: Tensor, shares: Tensor) -> Tensor:
    """Return each row (batch, …) mixed with its partner; see `Augmentation.mixing`."""
    return torch.lerp(values[partners], values, shares[:, None])


def augmentation_of(options: Augment, shape: tuple[int, ...]) -> Augmentation | None:
    """Return the augmentation of images of this shape, or None if the options change nothing."""
    return Augmentation(options, shape) if options.changes_anything() else None
