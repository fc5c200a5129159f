"""Checks that pixels are as a model reads them: from 0 to 1, light on dark."""

from collections.abc import Callable

import torch
from torch import Tensor

from mlpkit.errors import DataError

SCALES = (16, 255, 65535)  # of scikit-learn's digits, of bytes and of 16-bit pictures

BRIGHT = (
    0.5  # a border with a higher mean is probably a light background; the built-in datasets stay below 0.42
)
FAINT = 0.1  # fraction of the largest possible pixel


def check_range(pixels: Tensor, source: str, max_pixel: int | None) -> None:
    """Refuse pixels that are not from 0 to 1; the error suggests how to rescale them.

    Args:
        pixels: (rows, features), divided by max_pixel where it is given.
        source: the name of the input in errors.
        max_pixel: the value of --pixels.

    Raises:
        DataError: a pixel is not from 0 to 1.
    """
    if bool(((pixels >= 0) & (pixels <= 1)).all()):
        return
    found = pixels.double() * (max_pixel or 1)
    low, high = found.min().item(), found.max().item()
    said = f"{source}: pixels from {low:g} to {high:g}"
    if max_pixel is not None and low >= 0:
        raise DataError(
            f"{said}, and --pixels {max_pixel} reads 0 to {max_pixel}; give the largest possible pixel"
        )
    raise DataError(f"{said}, the model reads 0 to 1; {_advice(found, low, high)}")


def _advice(found: Tensor, low: float, high: float) -> str:
    is_whole = bool(((found - found.round()).abs() < 1e-3).all())
    if low < 0 and is_whole and low >= -128 and high <= 127:
        return "these seem to be bytes as int8, in which values above 127 become negative: save them as uint8"
    if low < 0 and low >= -1 and high <= 1:
        return "these seem to be scaled to -1 to 1: add 1 and divide by 2"
    if low < 0:
        return "these seem to be standardised, which the model does itself: give the original pixels"
    if high < 2 and not is_whole:
        return "some are slightly above 1: clip them"
    scale = next((scale for scale in SCALES if high <= scale), None)
    if scale is None:
        return "divide them by the largest possible pixel"
    return f"add --pixels {scale} if {scale} is the largest possible pixel"


def warn_of_unusual(pixels: Tensor, shape: tuple[int, ...], source: str, warn: Callable[[str], None]) -> None:
    """Warn if pictures seem to be dark on light, or nearly black.

    Args:
        pixels: (rows, features), from 0 to 1.
        shape: (height, width).
        source: the name of the input in warnings.
        warn: is called with each warning.
    """
    pictures = pixels.reshape(-1, *shape)
    sides = (pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1])
    bright = int((torch.cat(sides, dim=1).mean(1) > BRIGHT).sum())
    if 2 * bright > len(pictures):
        warn(
            f"warning: {source}: {bright:,} of {len(pictures):,} pictures have a bright border, and the "
            "model reads light on dark; add --invert if they are dark on light"
        )
    if 0 < (brightest := pixels.max().item()) < FAINT:
        warn(
            f"warning: {source}: the brightest pixel is {brightest:.2g}, and the model's reach 1; --pixels N "
            "sets the largest possible pixel"
        )
