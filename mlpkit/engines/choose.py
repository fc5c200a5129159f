"""Which engine trains a network."""

from mlpkit.config.loss import LossConfig
from mlpkit.engines.autograd import AutogradGradients
from mlpkit.engines.cuda import CudaEngine
from mlpkit.engines.engine import Engine
from mlpkit.engines.manual import ManualGradients, obstacle
from mlpkit.errors import ConfigError
from mlpkit.models.torch_network import Network

GradientsKind = type[AutogradGradients] | type[ManualGradients]


def choose_engine(
    wanted: str, network: Network, loss: LossConfig, device: str, before: str | None = None
) -> tuple[GradientsKind, type[Engine], str]:
    """Return who fills the gradients, the engine for the device, and in a few words why.

    Args:
        wanted: auto, stacked or autograd.
        network: what is to be trained.
        loss: what is to be made small.
        device: cpu or cuda:N.
        before: the engine that the run has had, which `auto` keeps.

    Raises:
        ConfigError: the wanted engine cannot train the network with this loss.
    """
    engine, problem, reason = Engine if device == "cpu" else CudaEngine, "", ""
    if layer := obstacle(network.layers):
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
