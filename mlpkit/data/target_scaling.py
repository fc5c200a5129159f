"""Transforms and scales regression targets; fitted on the training rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlpkit.config.problems import spell
from mlpkit.data.scaling import Affine, column_scaling
from mlpkit.errors import ConfigError

LARGEST = 3e38  # no limit; a checkpoint with infinity would be refused as damaged
PRECISION = 1e-3  # largest error of a target that is transformed and back, in standard deviations


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
        lowest: smaller t are clamped to this before the inverse, which they may not have.
        highest: larger t are clamped to this.
    """

    power: Tensor
    lowest: Tensor
    highest: Tensor

    def apply(self, values: Tensor) -> Tensor:
        """See `Affine.apply`."""
        return super().apply(yeo_johnson(values, self.power))


def yeo_johnson(values: Tensor, power: Tensor) -> Tensor:
    """Return ((y + 1)^λ - 1) / λ for y ≥ 0, and the same of -y with 2 - λ, negated, for y < 0.

    For λ = 0 it is log(y + 1). (Yeo and Johnson 2000.)

    Args:
        values: y, (rows, columns).
        power: λ, one for each column.
    """
    power = torch.where(values < 0, 2 - power, power)
    logs = values.abs().log1p()
    return torch.where(power == 0, logs, torch.expm1(power * logs) / power).copysign(values)


def inverse_yeo_johnson(transformed: Tensor, power: Tensor) -> Tensor:
    """Return the inverse of `yeo_johnson`; NaN where it does not exist."""
    power = torch.where(transformed < 0, 2 - power, power)
    sizes = transformed.abs()
    return torch.where(power == 0, sizes, torch.log1p(power * sizes) / power).expm1().copysign(transformed)


def fit_target_scaling(
    targets: Tensor, names: Sequence[str], transform: str, standardize: bool
) -> Affine | None:
    """Fit the scaling of the targets; None if they are not scaled.

    Args:
        targets: the targets of the training rows (rows, targets).
        names: names of the targets.
        transform: none, log or yeo_johnson.
        standardize: whether to standardise the transformed targets.

    Raises:
        ConfigError: the transform cannot be inverted precisely.
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
    for name, error, exponent in zip(names, errors.tolist(), power.tolist(), strict=True):
        if not error <= PRECISION:
            raise ConfigError(
                f"dataset.target_transform=yeo_johnson: the target {spell(name)} cannot be transformed back "
                f"precisely (λ = {exponent:.3g}); set target_transform=none, or log"
            )
    return found


def _standard(transformed: Tensor, standardize: bool) -> Affine:
    if standardize:
        return column_scaling(transformed)
    zeros = torch.zeros(transformed.shape[1])
    return Affine(zeros, zeros + 1)
