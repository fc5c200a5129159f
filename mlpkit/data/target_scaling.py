"""How the targets of a regression are transformed before training; fitted on the training rows alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlpkit.config.problems import spell
from mlpkit.data.dataset import Affine, column_scaling
from mlpkit.errors import ConfigError

LARGEST = 3e38  # stands for no limit; infinity would be refused as damage
PRECISION = 1e-3  # of a standard deviation, by which a target may differ once it is transformed and back


@dataclass(frozen=True)
class LogScaling(Affine):
    """`(log(values) - mean) / std`."""

    def apply(self, values: Tensor) -> Tensor:
        """See `Affine.apply`."""
        return super().apply(values.log())


@dataclass(frozen=True)
class YeoJohnsonScaling(Affine):
    """`(t - mean) / std`, where t is Yeo and Johnson's transform of the values.

    Attributes:
        power: λ of each column.
        lowest: the smallest t that is transformed back; smaller ones, which may have no inverse, count as it.
        highest: the largest, likewise.
    """

    power: Tensor
    lowest: Tensor
    highest: Tensor

    def apply(self, values: Tensor) -> Tensor:
        """See `Affine.apply`."""
        return super().apply(yeo_johnson(values, self.power))


def yeo_johnson(values: Tensor, power: Tensor) -> Tensor:
    """Return ((y + 1)^λ - 1) / λ for y ≥ 0, and the same of -y with 2 - λ, negated, for y < 0.

    λ = 0 stands for log(y + 1). (Yeo and Johnson 2000.)

    Args:
        values: y, (rows, columns).
        power: λ, one for each column.
    """
    power = torch.where(values < 0, 2 - power, power)
    logs = values.abs().log1p()
    return torch.where(power == 0, logs, torch.expm1(power * logs) / power).copysign(values)


def inverse_yeo_johnson(transformed: Tensor, power: Tensor) -> Tensor:
    """Return the values that `yeo_johnson` has transformed; NaN where there are none."""
    power = torch.where(transformed < 0, 2 - power, power)
    sizes = transformed.abs()
    return torch.where(power == 0, sizes, torch.log1p(power * sizes) / power).expm1().copysign(transformed)


def fit_target_scaling(
    targets: Tensor, names: Sequence[str], transform: str, standardize: bool
) -> Affine | None:
    """Return how targets are scaled, or None if they stay as they are.

    Args:
        targets: of the training rows, (rows, targets).
        names: of the targets.
        transform: none, log or yeo_johnson.
        standardize: whether they then get mean 0 and standard deviation 1.

    Raises:
        ConfigError: they cannot be transformed back precisely.
    """
    if transform == "none":
        return column_scaling(targets) if standardize else None
    exact = targets.double()
    if transform == "log":
        scaling = _standard(exact.log(), standardize)
        return LogScaling(scaling.mean, scaling.std)
    from sklearn.preprocessing import PowerTransformer

    fitted = PowerTransformer(method="yeo-johnson", standardize=False).fit(exact.numpy())
    power = torch.as_tensor(fitted.lambdas_, dtype=torch.float64)
    transformed = yeo_johnson(exact, power)
    scaling, limit = _standard(transformed, standardize), torch.full_like(power, LARGEST)
    found = YeoJohnsonScaling(
        scaling.mean,
        scaling.std,
        power.float(),
        torch.where(power > 2, transformed.amin(0), -limit).float(),
        torch.where(power < 0, transformed.amax(0), limit).float(),
    )
    back = inverse_yeo_johnson(found.apply(targets) * found.std + found.mean, found.power)
    errors = (back.double() - exact).abs().amax(0) / column_scaling(targets).std
    for name, error, of in zip(names, errors.tolist(), power.tolist(), strict=True):
        if not error <= PRECISION:
            raise ConfigError(
                f"dataset.target_transform=yeo_johnson: the target {spell(name)} cannot be transformed back "
                f"precisely (λ = {of:.3g}); set target_transform=none, or log"
            )
    return found


def _standard(transformed: Tensor, standardize: bool) -> Affine:
    if standardize:
        return column_scaling(transformed)
    zeros = torch.zeros(transformed.shape[1])
    return Affine(zeros, zeros + 1)
