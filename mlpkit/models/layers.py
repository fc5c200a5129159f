"""The layers that models are built from: shapes, and functions that make their torch modules."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlpkit.config.activation import ActivationConfig
from mlpkit.config.model import Layer, Shape
from mlpkit.config.registry import choices

if TYPE_CHECKING:
    from torch import nn


def linear(in_features: int, width: int, bias: bool) -> Layer:
    """Return a linear layer."""

    def make(device: str) -> "nn.Module":
        from torch import nn

        return nn.Linear(in_features, width, bias)

    shapes: dict[str, Shape] = {"weight": (width, in_features), **({"bias": (width,)} if bias else {})}
    return Layer("Linear", in_features, width, make, shapes, keeps_zeros=True)


def batch_norm(width: int) -> Layer:
    """Return a batch norm layer."""

    def make(device: str) -> "nn.Module":
        from torch import nn

        return nn.BatchNorm1d(width)

    running: dict[str, Shape] = {"running_mean": (width,), "running_var": (width,)}
    shapes: dict[str, Shape] = {"weight": (width,), "bias": (width,)}
    return Layer("BatchNorm1d", width, width, make, shapes, running, {"num_batches_tracked": ()})


def layer_norm(width: int) -> Layer:
    """Return a layer norm layer."""

    def make(device: str) -> "nn.Module":
        from torch import nn

        return nn.LayerNorm(width)

    return Layer("LayerNorm", width, width, make, {"weight": (width,), "bias": (width,)})


def periodic_embedding(
    features: int,
    numbers: Sequence[int],
    frequencies: int,
    width: int,
    std: float | tuple[float, float],
) -> Layer:
    """Return a layer that adds `width` values to the inputs for each number among them."""

    def make(device: str) -> "nn.Module":
        from mlpkit.models.torch_inputs import PeriodicEmbedding

        return PeriodicEmbedding(numbers, frequencies, width, std)

    count = len(numbers)
    waves: Shape = (count, frequencies)
    shapes: dict[str, Shape] = {
        "frequency": waves,
        "phase": waves,
        "weight": (count, width, frequencies),
        "bias": (count, width),
    }
    # It comes before all layers that may be padded, so that it keeps its width, whatever zeros become.
    settings = f"{frequencies} frequencies, {width} values, of the inputs {list(numbers)}"
    kind, out_features = "PeriodicEmbedding", features + count * width
    return Layer(kind, features, out_features, make, shapes, keeps_zeros=True, settings=settings)


def input_scale(features: int, lr_factor: float) -> Layer:
    """Return a layer that multiplies each input by a trained factor."""

    def make(device: str) -> "nn.Module":
        from mlpkit.models.torch_inputs import InputScale

        return InputScale(features, lr_factor)

    return Layer("InputScale", features, features, make, {"scale": (features,)}, keeps_zeros=True)


def member_inputs(features: int, members: int) -> Layer:
    """Return a layer that gives each row to all members, with factors of their own."""

    def make(device: str) -> "nn.Module":
        from mlpkit.models.torch_members import MemberInputs

        return MemberInputs(members, features)

    shapes: dict[str, Shape] = {"scale": (members, features)}
    settings = f"{members} members"
    return Layer("MemberInputs", features, features, make, shapes, keeps_zeros=True, settings=settings)


def member_scale(width: int, members: int, bias: bool) -> Layer:
    """Return a layer that multiplies each unit by each member's factor, and may add its bias."""

    def make(device: str) -> "nn.Module":
        from mlpkit.models.torch_members import MemberScale

        return MemberScale(members, width, bias)

    shapes: dict[str, Shape] = {"scale": (members, width), **({"bias": (members, width)} if bias else {})}
    settings = f"{members} members"
    return Layer("MemberScale", width, width, make, shapes, keeps_zeros=True, settings=settings)


def member_outputs(in_features: int, width: int, members: int) -> Layer:
    """Return a linear layer of each member's own."""

    def make(device: str) -> "nn.Module":
        from mlpkit.models.torch_members import MemberOutputs

        return MemberOutputs(members, in_features, width)

    shapes: dict[str, Shape] = {"weight": (members, width, in_features), "bias": (members, width)}
    settings = f"{members} members"
    return Layer("MemberOutputs", in_features, width, make, shapes, keeps_zeros=True, settings=settings)


def activation(name: str, width: int) -> Layer:
    """Return the activation layer of this name."""
    schema = choices("activation")[name]
    chosen = schema.model_validate({"name": name})
    assert isinstance(chosen, ActivationConfig)

    def make(device: str) -> "nn.Module":
        from torch import nn

        from mlpkit.models.torch_layers import Function

        if not chosen.torch_class:
            return Function(chosen)
        module: nn.Module = getattr(nn, chosen.torch_class)()
        return module

    kind = chosen.torch_class or schema.__name__
    parameters = dict(chosen.parameters)
    return Layer(kind, width, width, make, parameters, keeps_zeros=chosen.keeps_zeros, settings=name)


def dropout(width: int, rate: float, alpha: bool = False) -> Layer:
    """Return a dropout layer, or one for SELU networks; runs trained together may have different rates."""

    def make(device: str) -> "nn.Module":
        from mlpkit.models.torch_layers import AlphaDropout, Dropout

        return AlphaDropout(rate, device) if alpha else Dropout(rate, device)

    return Layer("AlphaDropout" if alpha else "Dropout", width, width, make, keeps_zeros=not alpha)
