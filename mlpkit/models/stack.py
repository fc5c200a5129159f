"""The trained layers as modules of torch."""

from collections.abc import Sequence

from torch import nn

from mlpkit.models.architecture import Layer
from mlpkit.models.dropout import Dropout


def stack(layers: Sequence[Layer], dropout: float = 0.0, device: str = "cpu") -> nn.Sequential:
    """Return the modules of the trained layers, in their order.

    Args:
        layers: what is wanted.
        dropout: rate of the dropout layers.
        device: of their generators.
    """
    return nn.Sequential(*(_module(layer, dropout, device) for layer in layers))


def _module(layer: Layer, dropout: float, device: str) -> nn.Module:
    if layer.kind == "Linear":
        return nn.Linear(layer.below, layer.width, bias="bias" in layer.parameters)
    if layer.kind == "Dropout":
        return Dropout(dropout, device)
    kind: type[nn.Module] = getattr(nn, layer.kind)
    return kind(layer.width) if layer.parameters else kind()
