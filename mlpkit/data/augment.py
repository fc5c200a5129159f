"""Random rotation, translation and scaling of images. Each image gets its own draw."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from mlpkit.config.dataset import Augment

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def augment(images: Tensor, shape: tuple[int, ...], options: Augment, random: torch.Generator) -> Tensor:
    """Return augmented copies of flattened images. Pixels from outside the frame are black.

    Args:
        images: (batch, pixels), from 0 to 1.
        shape: shape of one image: (height, width) or (channels, height, width).
        options: the largest rotation (degrees), translation (pixels) and change of scale (fraction);
            each image draws its own values between minus and plus these.
        random: the generator, on the images' device.
    """
    channels, height, width = (1, *shape)[-3:]
    count = len(images)
    draws = torch.rand(4, count, generator=random, device=images.device, dtype=images.dtype) * 2 - 1
    angle = draws[0] * math.radians(options.rotation)
    # affine_grid maps each output pixel to the place it is taken from, so the scale is inverted.
    scale = 1 / (1 + draws[1] * options.scale)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    # Coordinates run from -1 to 1 along each side, so x and y differ in unit if the image is not square.
    shift_x, shift_y = (
        draws[2] * (2 * options.translation / width),
        draws[3] * (2 * options.translation / height),
    )
    rows = (cosine, -sine * (height / width), shift_x, sine * (width / height), cosine, shift_y)
    matrices = torch.stack(rows, dim=1).reshape(count, 2, 3)
    grid = F.affine_grid(matrices, [count, channels, height, width], align_corners=False)
    pictures = images.reshape(count, channels, height, width)
    return F.grid_sample(pictures, grid, align_corners=False, padding_mode="zeros").reshape(count, -1)


def augmentation_of(options: Augment, shape: tuple[int, ...]) -> Augmentation | None:
    """Return the function (images, random) that augments a batch, or None if the options change nothing."""
    if not any((options.rotation, options.translation, options.scale)):
        return None
    return lambda images, random: augment(images, shape, options, random)
