"""The activations of a network, as backpropagation by hand wants them."""

from torch import nn

from mlpkit.config.activation import ActivationConfig, InPlace
from mlpkit.config.registry import choices
from mlpkit.models.torch_layers import Function


def in_place_of(module: nn.Module) -> InPlace | None:
    """Return an activation and its derivative, or None where the module is none or has none by hand."""
    if isinstance(module, Function):
        return module.activation.in_place()
    for name, schema in choices("activation").items():
        activation = schema.model_validate({"name": name})
        assert isinstance(activation, ActivationConfig)
        if activation.torch_class and getattr(nn, activation.torch_class) is type(module):
            return activation.in_place()
    return None
