"""Which engine trains a network."""

from mlpkit.engines.autograd import AutogradEngine
from mlpkit.engines.backpropagation import obstacle
from mlpkit.engines.stacked import StackedEngine
from mlpkit.engines.stacked_cuda import CudaStackedEngine
from mlpkit.errors import ConfigError
from mlpkit.models import Network

EngineKind = type[AutogradEngine] | type[StackedEngine]


def choose_engine(
    wanted: str, network: Network, device: str, before: str | None = None
) -> tuple[EngineKind, str]:
    """Return the engine, and in a few words why.

    Args:
        wanted: auto, stacked or autograd.
        network: what is to be trained.
        device: cpu or cuda:N.
        before: the engine that the run has had, which `auto` keeps.

    Raises:
        ConfigError: the wanted engine cannot train the network.
    """
    layer = obstacle(network.layers)
    if wanted == "autograd":
        return AutogradEngine, "as asked"
    if wanted == "auto" and before == "autograd" and layer is None:
        return AutogradEngine, "as before"
    if layer is None:
        stacked = StackedEngine if device == "cpu" else CudaStackedEngine
        return stacked, "as asked" if wanted == "stacked" else "linear layers, differentiated by hand"
    if wanted == "stacked":
        raise ConfigError(
            f"trainer.engine=stacked: the model has {layer} layers, whose gradients are not derived by hand; "
            "set trainer.engine=auto"
        )
    return AutogradEngine, f"for the {layer} layers"
