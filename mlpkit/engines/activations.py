"""Finds the in-place activation functions that backpropagation by hand uses."""

from torch import nn

from mlpkit.config.activation import ActivationConfig, InPlace
from mlpkit.config.registry import choices
from mlpkit.models.torch_layers import Function


def in_place_activation(module: nn.Module) -> InPlace | None:
    """Return a module's activation and its derivative; None if it is no activation or has no derivative.

    A PReLU has none here: see `mlpkit.engines.prelu`.
    """
    activation = activation_of(module)
    return activation.in_place() if activation else None


def activation_of(module: nn.Module) -> ActivationConfig | None:
    """Return the activation that a module computes; None if it computes none."""
    if isinstance(module, Function):
        return module.activation
    for name, schema in choices("activation").items():
        activation = schema.model_validate({"name": name})
        assert isinstance(activation, ActivationConfig)
        if activation.torch_class and getattr(nn, activation.torch_class) is type(module):
            return activation
    return None
