"""An activation that is no class of torch's, as a layer."""

from torch import Tensor, nn

from mlpkit.config.activation import ActivationConfig


class Function(nn.Module):
    """Computes an activation's function."""

    def __init__(self, activation: ActivationConfig) -> None:
        """Take the activation."""
        super().__init__()
        self.activation = activation

    def forward(self, units: Tensor) -> Tensor:
        """Return f of each unit."""
        return self.activation.function(units)

    def _get_name(self) -> str:
        return type(self.activation).__name__


def name_of(layer: nn.Module) -> str:
    """Return the name of a layer's kind, as its repr says it."""
    return str(layer._get_name())  # type: ignore[no-untyped-call]
