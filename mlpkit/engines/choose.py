"""Chooses the engine that trains a network."""

from mlpkit.config.loss import LossConfig
from mlpkit.engines.autograd import AutogradGradients
from mlpkit.engines.cuda import CudaEngine
from mlpkit.engines.engine import Engine
from mlpkit.engines.manual import ManualGradients
from mlpkit.engines.manual_layers import unsupported_layer
from mlpkit.errors import ConfigError
from mlpkit.models.torch_network import Network

GradientsKind = type[AutogradGradients] | type[ManualGradients]


def choose_engine(
    wanted: str, network: Network, loss: LossConfig, device: str, before: str | None = None
) -> tuple[GradientsKind, type[Engine], str]:
    """Return the class that computes gradients, the engine for the device, and a short reason for the log.

    Args:
        wanted: auto, stacked or autograd.
        network: the network to train.
        loss: the loss to minimise.
        device: cpu or cuda:N.
        before: the engine that a resumed run used before; `auto` keeps it.

    Raises:
        ConfigError: `wanted` is stacked, but a layer or the loss has no gradient by hand.
    """
    engine, problem, reason = Engine if device == "cpu" else CudaEngine, "", ""
    if layer := unsupported_layer(network.layers):
        problem = f"the model has {layer} layers, whose gradients are not derived by hand"
        reason = f"for the {layer} layers"
    elif loss.by_hand() is None:
        problem, reason = (
            f"the gradient of loss={loss.name} is not derived by hand",
            f"for the loss {loss.name}",
        )
    if wanted == "autograd":
        return AutogradGradients, engine, "as asked"
    if wanted == "auto" and before == "autograd" and not problem:
        return AutogradGradients, engine, "as before"
    if not problem:
        reason = "as asked" if wanted == "stacked" else "linear layers, differentiated by hand"
        return ManualGradients, engine, reason
    if wanted == "stacked":
        raise ConfigError(f"trainer.engine=stacked: {problem}; set trainer.engine=auto")
    return AutogradGradients, engine, reason
