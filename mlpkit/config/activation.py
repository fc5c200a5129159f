"""The base of every activation: a function of each pre-activation, between two layers."""

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
        apply: (z, activations) -> None; activations := f(z).
        derive: (gradients, kept) -> None; gradients := gradients ⊙ f'(z); `kept` is z or f(z).
        needs_pre_activations: whether `derive` takes z; else it takes f(z), which may overwrite z.
    """

    apply: "Callable[[Tensor, Tensor], object]"
    derive: "Callable[[Tensor, Tensor], object]"
    needs_pre_activations: bool = False


IDENTITY = InPlace(lambda z, activations: None, lambda gradients, activations: None)


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

        def derive(gradients: "Tensor", z: "Tensor") -> None:
            gradients.mul_(self.derivative(z))  # type: ignore[arg-type]  # which is there

        return InPlace(
            lambda z, activations: activations.copy_(self.function(z)), derive, needs_pre_activations=True
        )
