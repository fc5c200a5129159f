"""First weights from a Laplace distribution."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.init import InitConfig
from mlpkit.config.registry import choice
from mlpkit.config.section import Positive

if TYPE_CHECKING:
    from torch import Generator, Tensor


@choice("init")
class LaplaceInit(InitConfig):
    """Laplace distribution around zero."""

    name: Literal["laplace"]
    scale: Positive = Field(0.1, description="mean absolute weight")

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        sign = weight.new_empty(weight.shape).uniform_(-1, 1, generator=random).sign_()
        weight.exponential_(1 / self.scale, generator=random).mul_(sign)
