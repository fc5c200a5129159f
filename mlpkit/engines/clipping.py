"""Measures and clips the gradients of K runs."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mlpkit.config.config import Config


class Clipping:
    """Clips each run's gradient: torch.nn.utils.clip_grad_value_, then clip_grad_norm_.

    Attributes:
        norms: (K, 1), the gradients' norms at the last measurement, before clipping.
        norm_limits: (K, 1), each run's `clip_norm`, infinite if unset; None if no run sets it.
        value_limits: (K, 1), each run's `clip_value`; likewise.
    """

    def __init__(self, gradients: Sequence[Tensor], configs: Sequence[Config]) -> None:
        """Read the limits from the configs.

        Args:
            gradients: tensors (K, n) that together hold all gradients.
            configs: the runs' configs.
        """
        self.gradients = gradients
        self.norms = gradients[0].new_zeros(len(configs), 1)
        self.norm_limits = self._limits([config.trainer.clip_norm for config in configs])
        self.value_limits = self._limits([config.trainer.clip_value for config in configs])

    def _limits(self, limits: Sequence[float | None]) -> Tensor | None:
        """Return the limits (K, 1), infinite where unset; None if all are unset."""
        if all(limit is None for limit in limits):
            return None
        return self.norms.new_tensor([[math.inf if limit is None else limit] for limit in limits])

    def __call__(self, measure: bool) -> None:
        """Clip the gradients; with `measure`, store their norms before clipping."""
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
        is_one = len(self.gradients) == 1
        gradients = self.gradients[0] if is_one else torch.cat(list(self.gradients), dim=1)
        norms: Tensor = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        return norms
