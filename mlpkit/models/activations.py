"""Torch's activations and their derivatives, in place.

Torch's own kernels do both; they are called by name because `out=` and `grad_input=` are not in its
Python functions. Each derivative is that of the torch class that is named.
"""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.activation import IDENTITY, ActivationConfig, InPlace
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Tensor

LEAK = 0.01  # torch.nn.LeakyReLU's slope below zero


class TorchActivation(ActivationConfig):
    """An activation whose forward pass is a class of torch.nn."""

    keeps_zeros = True

    def function(self, z: "Tensor") -> "Tensor":
        """See `ActivationConfig.function`."""
        from torch import nn

        values: Tensor = getattr(nn, self.torch_class)()(z)
        return values


class FromOutputs(TorchActivation):
    """One whose derivative torch computes from f(z), which takes the place of z; its name is torch's."""

    def in_place(self) -> InPlace:
        """See `ActivationConfig.in_place`."""
        import torch

        apply = getattr(torch, f"{self.name}_")
        derive = getattr(torch.ops.aten, f"{self.name}_backward").grad_input
        return InPlace(
            lambda z, activations: apply(z),
            lambda gradients, activations: derive(gradients, activations, grad_input=gradients),
        )


class FromPreActivations(TorchActivation):
    """One whose derivative torch computes from z, which is kept; its name is torch's."""

    def in_place(self) -> InPlace:
        """See `ActivationConfig.in_place`."""
        from torch import ops

        apply = getattr(ops.aten, self.name).out
        derive = getattr(ops.aten, f"{self.name}_backward").grad_input
        return InPlace(
            lambda z, activations: apply(z, out=activations),
            lambda gradients, z: derive(gradients, z, grad_input=gradients),
            needs_pre_activations=True,
        )


@choice("activation")
class Relu(TorchActivation):
    """max(0, z)."""

    name: Literal["relu"]
    torch_class = "ReLU"

    def in_place(self) -> InPlace:
        """See `ActivationConfig.in_place`."""
        import torch

        derive = torch.ops.aten.threshold_backward.grad_input
        return InPlace(
            lambda z, activations: torch.relu_(z),
            lambda gradients, activations: derive(gradients, activations, 0, grad_input=gradients),
        )


@choice("activation")
class LeakyRelu(TorchActivation):
    """z, and a hundredth of it below zero."""

    name: Literal["leaky_relu"]
    torch_class = "LeakyReLU"

    def in_place(self) -> InPlace:
        """See `ActivationConfig.in_place`."""
        from torch import ops

        apply, derive = ops.aten.leaky_relu_, ops.aten.leaky_relu_backward.grad_input
        return InPlace(
            lambda z, activations: apply(z, LEAK),
            lambda gradients, activations: derive(gradients, activations, LEAK, True, grad_input=gradients),
        )


@choice("activation")
class Elu(TorchActivation):
    """z, and exp(z) - 1 below zero."""

    name: Literal["elu"]
    torch_class = "ELU"

    def in_place(self) -> InPlace:
        """See `ActivationConfig.in_place`."""
        from torch import ops

        apply, derive = ops.aten.elu_, ops.aten.elu_backward.grad_input
        return InPlace(
            lambda z, activations: apply(z),
            lambda gradients, activations: derive(
                gradients, 1, 1, 1, True, activations, grad_input=gradients
            ),
        )


@choice("activation")
class Gelu(FromPreActivations):
    """z Φ(z), for the normal distribution's Φ."""

    name: Literal["gelu"]
    torch_class = "GELU"


@choice("activation")
class Silu(FromPreActivations):
    """z σ(z)."""

    name: Literal["silu"]
    torch_class = "SiLU"


@choice("activation")
class Tanh(FromOutputs):
    """The hyperbolic tangent."""

    name: Literal["tanh"]
    torch_class = "Tanh"


@choice("activation")
class Sigmoid(FromOutputs):
    """σ(z) = 1 / (1 + exp(-z))."""

    name: Literal["sigmoid"]
    torch_class = "Sigmoid"
    keeps_zeros = False


@choice("activation")
class Identity(TorchActivation):
    """z itself: the layers are one linear map."""

    name: Literal["identity"]
    torch_class = "Identity"

    def in_place(self) -> InPlace:
        """See `ActivationConfig.in_place`."""
        return IDENTITY
