"""Measuring and limiting the gradients of K runs."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mlpkit.config.config import Config


class Clipping:
    """Limits each run's gradient, as torch.nn.utils.clip_grad_value_ and then clip_grad_norm_ do.

    Attributes:
        norms: (K, 1), of the gradients that were last measured, before they were limited.
        norm_limits: (K, 1), infinite for a run that has none; None where no run has one.
        value_limits: likewise.
    """

    def __init__(self, gradients: Sequence[Tensor], configs: Sequence[Config]) -> None:
        """Take the runs' gradients and their limits.

        Args:
            gradients: tensors (K, numbers) that make up the gradients.
            configs: of the runs.
        """
        self.gradients = gradients
        self.norms = gradients[0].new_zeros(len(configs), 1)
        self.norm_limits = self._limits([config.trainer.clip_norm for config in configs])
        self.value_limits = self._limits([config.trainer.clip_value for config in configs])

    def _limits(self, limits: Sequence[float | None]) -> Tensor | None:
        """Return (K, 1) limits, infinite for a run that has none; None where no run has one."""
        if all(limit is None for limit in limits):
            return None
        return self.norms.new_tensor([[math.inf if limit is None else limit] for limit in limits])

    def __call__(self, measure: bool) -> None:
        """Limit the gradients; with `measure`, keep their norms of before."""
        norms = None
        if measure:
            norms = self.norms = self._measure()
        if self.value_limits is not None:
            for gradients in self.gradients:
                gradients.clamp_(-self.value_limits, self.value_limits)
            norms = None
        if self.norm_limits is not None:
            norms = self._measure() if norms is None else norms
            factors = torch.clamp(self.norm_limits / (norms + 1e-6), max=1.0)
            for gradients in self.gradients:
                gradients.mul_(factors)

    def _measure(self) -> Tensor:
        one = len(self.gradients) == 1
        of_all = self.gradients[0] if one else torch.cat(list(self.gradients), dim=1)
        norms: Tensor = torch.linalg.vector_norm(of_all, dim=1, keepdim=True)
        return norms
