"""What every activation has, and what it does: it is a function of each unit, between two layers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mlpkit.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class InPlace:
    """A function f and its derivative, as backpropagation by hand computes them.

    Attributes:
        apply: (sums z, units) -> None; units := f(z).
        derive: (delta, kept) -> None; delta := delta ⊙ f'(z), from z or from f(z).
        keeps_sums: whether `derive` needs z; else units may lie where the sums were, and it takes f(z).
    """

    apply: "Callable[[Tensor, Tensor], object]"
    derive: "Callable[[Tensor, Tensor], object]"
    keeps_sums: bool = False


IDENTITY = InPlace(lambda z, units: None, lambda delta, units: None)


class ActivationConfig(Section):
    """An activation. A new one has a name and `function`, and may have `derivative`.

    Attributes:
        torch_class: the class of torch.nn that computes it, where there is one; it needs no `function`.
        keeps_zeros: whether f(0) = 0; then narrow networks can be trained beside wide ones in a sweep.
    """

    name: str
    torch_class: ClassVar[str] = ""
    keeps_zeros: ClassVar[bool] = False

    def function(self, z: "Tensor") -> "Tensor":
        """Return f(z) as a new tensor, for z of any shape, each number from its own."""
        raise NotImplementedError(f"model.activation={self.name} has no function")

    def derivative(self, z: "Tensor") -> "Tensor | None":
        """Return f'(z), or None: then autograd computes the gradients of the whole model."""
        return None

    def in_place(self) -> "InPlace | None":
        """Return what backpropagation by hand uses, or None where there is no derivative."""
        import torch

        if self.derivative(torch.zeros(1)) is None:
            return None

        def derive(delta: "Tensor", z: "Tensor") -> None:
            delta.mul_(self.derivative(z))  # type: ignore[arg-type]  # which is there

        return InPlace(lambda z, units: units.copy_(self.function(z)), derive, keeps_sums=True)
