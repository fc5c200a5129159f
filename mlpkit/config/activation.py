"""Base class of activations: elementwise functions between two layers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mlpkit.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class InPlace:
    """A function f and its derivative, computed in place for backpropagation by hand.

    Attributes:
        apply: (z, activations) -> None; writes f(z) into activations.
        derive: (gradients, kept) -> None; multiplies gradients by f'(z); `kept` is z or f(z).
        needs_pre_activations: whether `kept` is z. If not, `kept` is f(z), and `apply` may overwrite z.
    """

    apply: "Callable[[Tensor, Tensor], object]"
    derive: "Callable[[Tensor, Tensor], object]"
    needs_pre_activations: bool = False


IDENTITY = InPlace(lambda z, activations: None, lambda gradients, activations: None)


class ActivationConfig(Section):
    """An activation. A new one defines a name and `function`, and optionally `derivative`.

    Attributes:
        torch_class: name of the torch.nn class that computes it, if there is one.
        keeps_zeros: whether f(0) = 0. A sweep then pads narrow networks with zeros to the width of others.
        parameters: the shapes of its trained parameters by name, if `torch_class` has any.
    """

    to_define: ClassVar[tuple[str, ...]] = ("function or torch_class",)
    name: str
    torch_class: ClassVar[str] = ""
    keeps_zeros: ClassVar[bool] = False
    parameters: ClassVar[dict[str, tuple[int, ...]]] = {}

    def function(self, z: "Tensor") -> "Tensor":
        """Return f(z), elementwise, as a new tensor; z has any shape."""
        raise NotImplementedError(f"model.activation={self.name} has no function")

    def derivative(self, z: "Tensor") -> "Tensor | None":
        """Return f'(z), elementwise; None if autograd is to compute the gradients of the whole model."""
        return None

    def in_place(self) -> "InPlace | None":
        """Return f and f' for backpropagation by hand; None if there is no derivative."""
        import torch

        if self.derivative(torch.zeros(1)) is None:
            return None

        def derive(gradients: "Tensor", z: "Tensor") -> None:
            gradients.mul_(self.derivative(z))  # type: ignore[arg-type]  # not None, checked above

        return InPlace(
            lambda z, activations: activations.copy_(self.function(z)), derive, needs_pre_activations=True
        )
