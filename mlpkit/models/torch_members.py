"""Layers of a model whose members share most weights (TabM, Gorishniy et al. 2024, arXiv 2410.24210).

Between the first of these layers and the last, the rows of all M members lie below each other, those of the
first member on top: (M · rows, width). So all other layers treat them as further rows.
"""

import torch
from torch import Tensor, nn


class MemberInputs(nn.Module):
    """Gives each row to all members, and multiplies each input by a factor of the member's own.

    Attributes:
        scale: (M, features), the factors.
    """

    def __init__(self, members: int, features: int) -> None:
        """Create the factors."""
        super().__init__()
        self.scale = nn.Parameter(torch.empty(members, features))

    def initialize(self, random: torch.Generator) -> None:
        """Draw 1 or -1, so that members differ from the start."""
        signs = torch.randint(0, 2, self.scale.shape, generator=random)
        with torch.no_grad():
            self.scale.copy_(2 * signs - 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (M · rows, features) for inputs (rows, features)."""
        return (inputs * self.scale[:, None]).flatten(0, 1)

    def extra_repr(self) -> str:
        """Return the text for repr."""
        return "members={}, features={}".format(*self.scale.shape)


class MemberScale(nn.Module):
    """Multiplies each unit by a factor of the member's own, 1 at first, and adds a bias of its own.

    Attributes:
        scale: (M, width), the factors.
        bias: (M, width), or None.
    """

    def __init__(self, members: int, width: int, bias: bool) -> None:
        """Create the parameters."""
        super().__init__()
        self.scale = nn.Parameter(torch.empty(members, width))
        self.bias = nn.Parameter(torch.empty(members, width)) if bias else None

    def forward(self, units: Tensor) -> Tensor:
        """Return the units (M · rows, width)."""
        own = units.reshape(len(self.scale), -1, units.shape[1])
        scale = self.scale[:, None]
        scaled = own * scale if self.bias is None else torch.addcmul(self.bias[:, None], own, scale)
        return scaled.flatten(0, 1)

    def extra_repr(self) -> str:
        """Return the text for repr."""
        return "members={}, width={}, bias={}".format(*self.scale.shape, self.bias is not None)


class MemberOutputs(nn.Module):
    """A linear layer of each member's own.

    Attributes:
        weight: (M, width, in_features).
        bias: (M, width).
    """

    def __init__(self, members: int, in_features: int, width: int) -> None:
        """Create the parameters."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, width, in_features))
        self.bias = nn.Parameter(torch.empty(members, width))

    @property
    def in_features(self) -> int:
        """The width of the inputs."""
        return self.weight.shape[2]

    @property
    def out_features(self) -> int:
        """The width of each member's outputs."""
        return self.weight.shape[1]

    def forward(self, units: Tensor) -> Tensor:
        """Return (M, rows, width) for units (M · rows, in_features)."""
        own = units.reshape(len(self.weight), -1, units.shape[1])
        return torch.baddbmm(self.bias[:, None], own, self.weight.mT)

    def extra_repr(self) -> str:
        """Return the text for repr."""
        members, width, in_features = self.weight.shape
        return f"members={members}, in_features={in_features}, out_features={width}"


def member_layers(layers: nn.Sequential, member: int) -> list[nn.Module]:
    """Return the layers of one member as an ordinary network; all its factors are in the weights.

    A linear layer W with factors r before and s after it is the linear layer (s rᵀ) ⊙ W.
    """
    found: list[nn.Module] = []
    factors: Tensor | None = None  # of the inputs of the next linear layer
    for layer in layers:
        if isinstance(layer, MemberInputs) or (isinstance(layer, MemberScale) and layer.bias is None):
            factors = layer.scale[member]
        elif isinstance(layer, MemberScale):
            linear = found.pop()
            assert isinstance(linear, nn.Linear) and layer.bias is not None
            found.append(linear_of(linear.weight * layer.scale[member, :, None], layer.bias[member]))
        elif isinstance(layer, nn.Linear):
            found.append(linear_of(layer.weight if factors is None else layer.weight * factors, layer.bias))
            factors = None
        elif isinstance(layer, MemberOutputs):
            weight = layer.weight[member]
            found.append(linear_of(weight if factors is None else weight * factors, layer.bias[member]))
        else:
            found.append(layer)
    return found


def linear_of(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a linear layer with copies of these values."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().clone())
    return linear
