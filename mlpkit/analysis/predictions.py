"""What a model predicts for rows."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Predictions:
    """The predictions of a model for some rows.

    Attributes:
        values: (rows, targets) in the targets' unit for regression, zeros and ones for multilabel; else
            (rows,) labels.
        probabilities: (rows, classes), (rows, targets) for multilabel, or None for regression.
        ends: (rows, 2 · targets) the quantiles of all targets at the lower end of an interval, then at the
            upper end, in the targets' unit; None if the loss has none (`LossConfig.ends`).
    """

    values: Tensor
    probabilities: Tensor | None
    ends: Tensor | None = None

    @property
    def numbers(self) -> Tensor:
        """The probabilities, or the values of a regression."""
        return self.values if self.probabilities is None else self.probabilities

    def rows(self, start: int, stop: int) -> "Predictions":
        """Return the predictions of rows start to stop."""
        values, *others = (
            None if found is None else found[start:stop]
            for found in (self.values, self.probabilities, self.ends)
        )
        assert values is not None
        return Predictions(values, *others)

    @staticmethod
    def joined(parts: "Iterable[Predictions]") -> "Predictions":
        """Return the predictions of several parts as one."""
        each = zip(*((part.values, part.probabilities, part.ends) for part in parts), strict=True)
        values, *others = (None if found[0] is None else torch.cat(found) for found in each)
        assert values is not None
        return Predictions(values, *others)

    def first_not_finite(self) -> int | None:
        """Return the first row in which a value or a probability is not a finite number, or None."""
        finite = np.isfinite(self.numbers.numpy())
        return None if finite.all() else int(np.argmin(finite.reshape(len(finite), -1).all(1)))
