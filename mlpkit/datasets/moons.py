"""Two moons."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.registry import choice
from mlpkit.config.section import NotNegative
from mlpkit.data.synthetic import Synthetic

if TYPE_CHECKING:
    from torch import Tensor

    from mlpkit.data.input_schema import InputSchema


@choice("dataset")
class MoonsDataset(Synthetic):
    """Two interleaving half circles (scikit-learn's make_moons)."""

    name: Literal["moons"]
    noise: NotNegative = Field(0.1, description="standard deviation of the noise on the points")

    def input_schema(self) -> "InputSchema":
        """See `Synthetic.input_schema`."""
        from mlpkit.data.input_schema import InputSchema

        return InputSchema("binary", ("x1", "x2"), (2,), ("moon",), ("upper", "lower"))

    def draw(self) -> "tuple[Tensor, Tensor]":
        """Return points (n, 2) and labels (n,): two interleaving half circles with noise.

        They are bit-identical to scikit-learn's make_moons with the same seed, whose import takes a second.
        """
        import numpy as np
        import torch

        random = np.random.RandomState(self.seed)
        upper, lower = (np.linspace(0, np.pi, rows) for rows in (self.n // 2, self.n - self.n // 2))
        x = np.concatenate((np.cos(upper), 1 - np.cos(lower)))
        y = np.concatenate((np.sin(upper), 1 - np.sin(lower) - 0.5))
        labels = np.repeat((0, 1), (len(upper), len(lower)))
        order = random.permutation(self.n)
        points = np.stack((x, y), axis=1)[order]
        if self.noise:
            points += random.normal(scale=self.noise, size=points.shape)
        return torch.from_numpy(points).float(), torch.from_numpy(labels[order]).long()
