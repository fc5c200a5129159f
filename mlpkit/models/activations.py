"""Torch's activations and their derivatives, computed in place with torch's own kernels.

The kernels are called through torch.ops.aten, since torch's Python functions have no `out=` or `grad_input=`.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

from mlpkit.config.activation import IDENTITY, ActivationConfig, InPlace
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Tensor

LEAK = 0.01  # negative_slope of torch.nn.LeakyReLU
SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
SOFTPLUS = 1, 20  # beta of torch.nn.Softplus, and the threshold above which it returns z


class TorchActivation(ActivationConfig):
    """An activation computed by a class of torch.nn."""

    keeps_zeros = True

    def function(self, z: "Tensor") -> "Tensor":
        """See `ActivationConfig.function`."""
        from torch import nn

        values: Tensor = getattr(nn, self.torch_class)()(z)
        return values


class FromOutputs(TorchActivation):
    """An activation whose derivative torch computes from f(z); f(z) overwrites z. Named as in torch."""

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
    """An activation whose derivative torch computes from z, which is kept. Named as in torch."""

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
    """z for z ≥ 0, else 0.01 z."""

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
class Prelu(TorchActivation):
    """z for z ≥ 0, else a z; the slope a of each layer is trained, 0.25 at first (He et al. 2015)."""

    name: Literal["prelu"]
    torch_class = "PReLU"
    parameters: ClassVar[dict[str, tuple[int, ...]]] = {"weight": (1,)}

    def in_place(self) -> None:
        """None: `mlpkit.engines.prelu` has the derivative, with that of the slope."""


@choice("activation")
class Elu(TorchActivation):
    """z for z ≥ 0, else exp(z) - 1."""

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
    """z Φ(z), where Φ is the normal distribution's CDF."""

    name: Literal["gelu"]
    torch_class = "GELU"


@choice("activation")
class Silu(FromPreActivations):
    """z σ(z)."""

    name: Literal["silu"]
    torch_class = "SiLU"


@choice("activation")
class Mish(TorchActivation):
    """z tanh(softplus(z)) (Misra 2019)."""

    name: Literal["mish"]
    torch_class = "Mish"

    def in_place(self) -> InPlace:
        """See `ActivationConfig.in_place`; torch's kernel of the derivative has no `grad_input=`."""
        from torch import ops

        apply, derive = ops.aten.mish.out, ops.aten.mish_backward
        return InPlace(
            lambda z, activations: apply(z, out=activations),
            lambda gradients, z: gradients.copy_(derive(gradients, z)),
            needs_pre_activations=True,
        )


@choice("activation")
class Selu(TorchActivation):
    """A scaled ELU that keeps mean 0 and variance 1, with init=kaiming_normal init.nonlinearity=linear."""

    name: Literal["selu"]
    torch_class = "SELU"

    def in_place(self) -> InPlace:
        """See `ActivationConfig.in_place`."""
        from torch import ops

        apply, derive = ops.aten.selu_, ops.aten.elu_backward.grad_input
        return InPlace(
            lambda z, activations: apply(z),
            lambda gradients, activations: derive(
                gradients, SELU_ALPHA, SELU_SCALE, 1, True, activations, grad_input=gradients
            ),
        )


@choice("activation")
class Softplus(TorchActivation):
    """log(1 + exp(z)), a smooth ReLU that is never 0."""

    name: Literal["softplus"]
    torch_class = "Softplus"
    keeps_zeros = False

    def in_place(self) -> InPlace:
        """See `ActivationConfig.in_place`."""
        from torch import ops

        apply, derive = ops.aten.softplus.out, ops.aten.softplus_backward.grad_input
        return InPlace(
            lambda z, activations: apply(z, *SOFTPLUS, out=activations),
            lambda gradients, z: derive(gradients, z, *SOFTPLUS, grad_input=gradients),
            needs_pre_activations=True,
        )


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
    """z itself, so that all layers together are one linear map."""

    name: Literal["identity"]
    torch_class = "Identity"

    def in_place(self) -> InPlace:
        """See `ActivationConfig.in_place`."""
        return IDENTITY
