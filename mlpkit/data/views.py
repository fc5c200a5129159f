"""Copies of images, turned and shifted a little, whose mean prediction is taken (test-time augmentation)."""

import math
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from mlpkit.config.dataset import ViewOptions


class Views:
    """The ways in which images are changed, each a linear map of their pixels.

    A scaled image z becomes A (z - black) + black, where `black` is a black image, scaled: A interpolates
    between pixels, and what comes in from outside the frame is black.

    Attributes:
        maps: the matrices (2, 3) that torch's affine_grid takes.
    """

    def __init__(self, options: ViewOptions, shape: tuple[int, ...]) -> None:
        """Take the options, and the shape of an image: (height, width) or (channels, height, width)."""
        self.shape = (1, *shape)[-3:]
        _, height, width = self.shape
        angles, shifts = (both_ways(by) for by in (math.radians(options.rotation), options.translation))
        self.maps = [
            (
                (math.cos(angle), -math.sin(angle) * height / width, 2 * x / width),
                (math.sin(angle) * width / height, math.cos(angle), 2 * y / height),
            )
            for angle, x, y in product(angles, shifts, shifts)
        ]

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.maps)

    def of_rows(self, images: Tensor, black: Tensor) -> Tensor:
        """Return all views (…, views · rows, pixels) of scaled images (…, rows, pixels).

        Args:
            images: the flattened images.
            black: (pixels,), a black image, scaled.
        """
        pixels = (images - black).reshape(-1, images.shape[-1])
        views = [self._moved(pixels, view).view(images.shape) for view in range(len(self))]
        return torch.cat(views, -2).add_(black)

    def into_layer(
        self, view: int, weight: Tensor, bias: Tensor | None, black: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the weights and biases that do with an image what the given ones do with its view.

        W (A (z - black) + black) + b has the weights W A, a vector-Jacobian product of A.

        Args:
            view: the number of the view.
            weight: (units, pixels), those of a linear layer of scaled images.
            bias: (units,), or None.
            black: see `of_rows`.

        Returns:
            (units, pixels) and (units,).
        """
        # On the CPU, since this is not deterministic on CUDA. torch.autograd.grad would import sympy first.
        pictures = weight.detach().cpu().reshape(-1, *self.shape)
        images, grid = torch.zeros_like(pictures), self._grid(view, pictures)
        found = torch.ops.aten.grid_sampler_2d_backward(pictures, images, grid, 0, 0, False, [True, False])
        moved: Tensor = found[0].view(weight.shape).to(weight.device)
        offset = (weight.detach() - moved) @ black
        return moved, offset if bias is None else bias.detach() + offset

    def _moved(self, images: Tensor, view: int) -> Tensor:
        """Return a view of images (rows, pixels) whose black is 0."""
        pictures = images.reshape(-1, *self.shape)
        moved = F.grid_sample(pictures, self._grid(view, pictures), padding_mode="zeros", align_corners=False)
        return moved.view(images.shape)

    def _grid(self, view: int, pictures: Tensor) -> Tensor:
        """Return where a view takes the pixels of pictures (rows, channels, height, width) from."""
        matrix = pictures.new_tensor([self.maps[view]])
        grid = F.affine_grid(matrix, [1, *self.shape], align_corners=False)
        return grid.expand(len(pictures), -1, -1, -1)


def both_ways(by: float) -> tuple[float, ...]:
    """Return a change in either direction, or none if it is 0."""
    return (by, -by) if by else (0.0,)
