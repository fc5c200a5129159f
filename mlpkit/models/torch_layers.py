"""Layers that torch.nn does not have: standardisation, own activations, dropout from a private generator."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mlpkit.config.activation import ActivationConfig
from mlpkit.data.randomness import derived_seed
from mlpkit.data.scaling import Affine
from mlpkit.data.target_scaling import inverse_yeo_johnson, yeo_johnson
from mlpkit.models.activations import SELU_ALPHA, SELU_SCALE

SELU_LIMIT = -SELU_SCALE * SELU_ALPHA
IN_CACHE = 2**16  # numbers that the second operation on them still finds in the processor's cache
SHARES = 2**16  # 16 random bits per unit: four units share a 64-bit number, since drawing numbers is slow


class Scaling(nn.Module):
    """Standardises each column: (values - mean) / std. Both are buffers, saved with the weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, values: Affine) -> None:
        """Keep copies of the mean, the standard deviation and what else the scaling has."""
        super().__init__()
        for field in fields(values):
            self.register_buffer(field.name, getattr(values, field.name).clone())

    def set(self, values: Affine) -> None:
        """Copy another scaling of the same kind and shape."""
        with torch.no_grad():
            for field in fields(values):
                getattr(self, field.name).copy_(getattr(values, field.name))

    def forward(self, values: Tensor) -> Tensor:
        """Return the standardised values (rows, columns)."""
        return (values - self.mean).div_(self.std)

    def write(self, values: NDArray[np.float32], out: NDArray[Any]) -> None:
        """Write the standardised values (rows, columns) to `out`, to the same bits as `forward`.

        NumPy computes them in the thread that asks, where torch would start others for so many.
        """
        mean, std = self.mean.numpy(), self.std.numpy()
        rows = max(1, IN_CACHE // values.shape[1])
        with np.errstate(all="ignore"):
            for start in range(0, len(values), rows):
                part = out[start : start + rows]
                np.subtract(values[start : start + rows], mean, out=part)
                np.divide(part, std, out=part)


class Unscaling(Scaling):
    """The inverse: values · std + mean.

    Attributes:
        clips: whether the results are clipped to the range of the training targets, least to most.
    """

    least: Tensor
    most: Tensor

    def __init__(self, values: Affine, clips: bool = False) -> None:
        """Keep copies of the scaling; `set_range` sets the range."""
        super().__init__(values)
        self.clips = clips
        if clips:
            self.register_buffer("least", values.mean.clone())
            self.register_buffer("most", values.mean.clone())

    def set_range(self, targets: Tensor) -> None:
        """Take the range of the training targets (rows, targets), if results are clipped."""
        if self.clips:
            self.least.copy_(targets.amin(0))
            self.most.copy_(targets.amax(0))

    def forward(self, values: Tensor) -> Tensor:
        """Return the values (rows, columns) in their own unit."""
        return self.function()(values)

    def function(self) -> Callable[[Tensor], Tensor]:
        """Return `forward` with its buffers looked up, which takes as long as a few rows do."""
        unclipped = self.unclipped()
        if not self.clips:
            return unclipped
        least, most = self.least, self.most
        return lambda values: unclipped(values).clamp(least, most)

    def unclipped(self) -> Callable[[Tensor], Tensor]:
        """Return the function before clipping."""
        std, mean = self.std, self.mean
        return lambda values: values * std + mean

    def inverse(self, values: Tensor) -> Tensor:
        """Return the standardised values (rows, columns)."""
        return super().forward(values)

    def standardize(self, targets: Tensor) -> Tensor:
        """Return the targets (rows, columns) as the loss needs them."""
        return self.inverse(targets)

    def stacked_with(self, others: Sequence["Unscaling"]) -> "Unscaling":
        """Return a layer for outputs (K, rows, columns) of K runs, given the other runs' layers."""
        stacked = copy.deepcopy(self)
        for name, _ in self.named_buffers():
            setattr(stacked, name, torch.stack([getattr(each, name) for each in (self, *others)])[:, None])
        return stacked


class UnscalingLog(Unscaling):
    """Undoes `dataset.target_transform=log`: exp(values · std + mean)."""

    def unclipped(self) -> Callable[[Tensor], Tensor]:
        """See `Unscaling.unclipped`."""
        linear = super().unclipped()
        return lambda values: linear(values).exp()

    def inverse(self, values: Tensor) -> Tensor:
        """Return the standardised logarithms (rows, columns)."""
        return super().inverse(values.log())


class UnscalingRates(UnscalingLog):
    """Converts the logarithms of rates that a log-link loss such as poisson trains: exp(values + mean).

    The loss takes the targets divided by exp(mean): they stay counts, and rates near their mean are easy to
    reach. `std` is 1.
    """

    def set_mean(self, targets: Affine | None) -> None:
        """Take the mean of the targets that are standardised; None: divide them by 1."""
        with torch.no_grad():
            self.std.fill_(1)
            self.mean.zero_()
            if targets is not None:
                self.mean.copy_(torch.where(targets.mean > 0, targets.mean, 1.0).log())

    def standardize(self, targets: Tensor) -> Tensor:
        """See `Unscaling.standardize`."""
        return targets / self.mean.exp()


class UnscalingYeoJohnson(Unscaling):
    """Undoes `dataset.target_transform=yeo_johnson`; the buffers are those of `YeoJohnsonScaling`."""

    power: Tensor
    lowest: Tensor
    highest: Tensor

    def unclipped(self) -> Callable[[Tensor], Tensor]:
        """See `Unscaling.unclipped`."""
        linear, power, lowest, highest = super().unclipped(), self.power, self.lowest, self.highest
        return lambda values: inverse_yeo_johnson(linear(values).clamp(lowest, highest), power)

    def inverse(self, values: Tensor) -> Tensor:
        """Return the standardised transformed values (rows, columns)."""
        return super().inverse(yeo_johnson(values, self.power))


class Temperature(nn.Module):
    """Divides logits by a temperature, so that the probabilities are as sure as they should be.

    The scale is not in `state_dict`: the checkpoint's header has the temperature.
    """

    scale: Tensor

    def __init__(self, temperature: float, width: int, dtype: torch.dtype) -> None:
        """Take a temperature above 0 for logits (rows, width)."""
        super().__init__()
        self.temperature = temperature
        self.register_buffer("scale", torch.full((width,), 1 / temperature, dtype=dtype), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """Return the logits (rows, width), divided."""
        return logits * self.scale


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

    Attributes:
        batch: rows in the whole batch if the next rows are a process's share of it, which gets its part of
            the batch's mask; 0: they are the whole batch.
        first: the first of these rows.
    """

    def __init__(self, rate: float, device: str) -> None:
        """Create the generator on the device of the activations."""
        super().__init__()
        self.rate = rate
        self.random = torch.Generator(device)
        self.batch, self.first = 0, 0

    def forward(self, activations: Tensor) -> Tensor:
        """Return the activations (rows, width), in training with some units zeroed."""
        if not self.training:
            return activations
        mask = torch.empty_like(activations.mT, memory_format=torch.contiguous_format)
        for operation in self.draw(mask):
            operation()
        return activations * mask.mT

    def factor(self, share: float) -> float:
        """Return what is multiplied with the units that are kept, given the share that is dropped."""
        return 1 / (1 - share)

    def draw(self, mask: Tensor) -> list[Callable[[], object]]:
        """Return the operations that fill a mask (width, rows) with 0 and the factor of kept units."""
        dropped = self._dropped()
        (width, rows), batch = mask.shape, self.batch or mask.shape[1]
        numbers = torch.empty(-(-width * batch // 4), dtype=torch.int64, device=mask.device)
        of_batch = numbers.view(torch.int16)[: width * batch].view(width, batch)
        shares = of_batch[:, self.first : self.first + rows]
        return [
            partial(numbers.random_, -(2**63), None, generator=self.random),
            partial(shares.ge_, dropped - SHARES // 2),
            partial(mask.copy_, shares),
            partial(mask.mul_, self.factor(dropped / SHARES)),
        ]

    def _dropped(self) -> int:
        """Return the share of dropped units, in 1/65536."""
        return min(round(self.rate * SHARES), SHARES - 1)

    def extra_repr(self) -> str:
        """Return the text for repr."""
        return f"rate={self.rate}"


class AlphaDropout(Dropout):
    """Dropout for SELU networks (torch.nn.AlphaDropout; Klambauer et al. 2017), with a private generator.

    Dropped units become SELU's lower limit v, not 0. Then all are scaled and shifted, so that a layer's mean
    of 0 and variance of 1 stay. With the mask m, which is 0 or the factor, that is (a - v) m + shift.
    """

    def forward(self, activations: Tensor) -> Tensor:
        """See `Dropout.forward`."""
        if not self.training:
            return activations
        return super().forward(activations - SELU_LIMIT) + self.shift

    def factor(self, share: float) -> float:
        """See `Dropout.factor`."""
        return float(((1 - share) * (1 + share * SELU_LIMIT**2)) ** -0.5)

    @property
    def shift(self) -> float:
        """What is added to all units; it makes their mean 0 again."""
        share = self._dropped() / SHARES
        return self.factor(share) * SELU_LIMIT * (1 - share)


def seed_dropout(generators: Sequence[torch.Generator], seed: int, epoch: int, step: int) -> None:
    """Seed the generators, so that the next masks are a function of (seed, layer, epoch, step)."""
    for layer, random in enumerate(generators):
        random.manual_seed(derived_seed(seed, f"dropout/{layer}", epoch, step))


def set_dropout_share(networks: Sequence[nn.Module], batch: int, first: int) -> None:
    """Make the next rows of all dropout layers a share of a batch; see `Dropout`."""
    for network in networks:
        for layer in network.modules():
            if isinstance(layer, Dropout):
                layer.batch, layer.first = batch, first
