"""Models that build their own nn.Module."""

import torch
from torch import Tensor, nn

from mlpkit.config.model import Layer, ModelConfig
from mlpkit.data.randomness import derived_seed
from mlpkit.errors import ConfigError


class OwnModule(nn.Module):
    """Wraps a module that draws from torch's global generator, such as nn.Dropout: seeds it in training.

    The state of the global generator is restored after each call.

    Attributes:
        random: private generator, seeded at each step as in `Dropout`; each call in training draws a seed.
    """

    def __init__(self, module: nn.Module) -> None:
        """Store the module."""
        super().__init__()
        self.module = module
        self.random = torch.Generator()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs (rows, width)."""
        outputs: Tensor
        if not self.training:
            outputs = self.module(inputs)
            return outputs
        seed = int(torch.randint(2**62, (), generator=self.random))
        devices = [inputs.device] if inputs.is_cuda else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            outputs = self.module(inputs)
            return outputs

    def _get_name(self) -> str:
        return type(self.module).__name__


def own_layer(model: ModelConfig, features: int, width: int, seed: int) -> Layer:
    """Return a model's own module as a layer; its shapes are found on torch's meta device.

    Raises:
        ConfigError: the module has parameters or buffers that mlpkit cannot train or save.
    """
    try:
        with torch.random.fork_rng([]), torch.device("meta"):
            module = model.build(features, width)
            state = module.state_dict()
    except (NotImplementedError, RuntimeError):  # the module computes with its weights when it is built
        module = _built(model, features, width, seed)
        state = module.state_dict()
    trained = dict(module.named_parameters())
    tied = [name for name, _ in module.named_parameters(remove_duplicate=False) if name not in trained]
    frozen = [name for name, parameter in trained.items() if not parameter.requires_grad]
    for name, tensor in state.items():
        if tensor.dtype not in (torch.float32, torch.int64) or (name in trained) > tensor.is_floating_point():
            raise ConfigError(f"model={model.name}: {name} is {tensor.dtype}; use float32, or int64 buffers")
    if tied:
        raise ConfigError(f"model={model.name}: the parameter {tied[0]} is shared with another; untie them")
    if frozen:
        raise ConfigError(f"model={model.name}: the parameter {frozen[0]} is frozen; make it a buffer")
    if not trained:
        raise ConfigError(f"model={model.name}: its module has no parameters to train")
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    others = {name: tensor.is_floating_point() for name, tensor in state.items() if name not in trained}
    return Layer(
        kind=type(model).__name__,
        in_features=features,
        out_features=width,
        make=lambda device: build_own(model, features, width, seed).to(device),
        parameters={f"module.{name}": shapes[name] for name in trained},
        buffers={f"module.{name}": shapes[name] for name, is_float in others.items() if is_float},
        counters={f"module.{name}": shapes[name] for name, is_float in others.items() if not is_float},
        settings=model.model_dump_json(),
    )


def build_own(model: ModelConfig, features: int, width: int, seed: int) -> OwnModule:
    """Return a model's own module, initialised from the seed.

    Raises:
        ConfigError: its outputs do not have the required shape.
    """
    module = _built(model, features, width, seed).eval()
    with torch.no_grad(), torch.random.fork_rng([]), torch.device("cpu"):
        shape = tuple(module(torch.zeros(2, features)).shape)
    if shape != (2, width):
        raise ConfigError(
            f"model={model.name}: its module returns {shape} for inputs (2, {features}), not (2, {width})"
        )
    return OwnModule(module)


def _built(model: ModelConfig, features: int, width: int, seed: int) -> nn.Module:
    with torch.random.fork_rng([]), torch.device("cpu"):
        torch.manual_seed(derived_seed(seed, "init"))
        return model.build(features, width)
