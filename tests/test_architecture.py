"""The layers that are known without torch are those of the network that torch makes."""

import pytest
import running
import torch

from mlpkit.config import registry
from mlpkit.data.load import load_dataset
from mlpkit.models import architecture as shapes
from mlpkit.models.torch_layers import Dropout
from mlpkit.models.torch_network import build_model, count_parameters

MODELS = [
    ("dataset=line", "model=linear"),
    ("dataset=line", "model=linear", "model.bias=false", "dataset.standardize=true"),
    ("dataset=moons", "model=logistic", "dataset.standardize=true"),
    ("dataset=digits", "model=logistic"),
    *(
        (
            "dataset=moons",
            "model.hidden=[5,3]",
            f"model.norm={norm}",
            f"model.dropout={rate}",
            f"model.bias={bias}",
        )
        for norm in ("none", "batch", "layer")
        for rate in (0.0, 0.5)
        for bias in ("true", "false")
    ),
    *(("dataset=moons", f"model.activation={name}") for name in registry.choices("activation")),
]


@pytest.mark.parametrize("overrides", MODELS, ids=" ".join)
def test_it_is_the_network(overrides: tuple[str, ...]) -> None:
    config = running.config(*overrides)
    dataset = load_dataset(config.dataset)
    layers, network = shapes.architecture(config, dataset.input_schema), build_model(config, dataset)
    found = network.state_dict()
    assert shapes.tensors(layers) == {
        name: (tuple(tensor.shape), tensor.is_floating_point()) for name, tensor in found.items()
    }
    trained = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert shapes.parameters(layers) == trained
    assert list(shapes.parameters(layers)) == list(trained)
    assert shapes.count(layers) == count_parameters(network)
    kinds = {name: type(module).__name__ for name, module in network.named_modules()}
    assert {layer.name: layer.kind for layer in layers} == {
        name: kind for name, kind in kinds.items() if name not in ("", "layers", *_left_out(network))
    }
    assert all(module.rate == 0.5 for module in network.modules() if isinstance(module, Dropout))


def _left_out(network: torch.nn.Module) -> list[str]:
    """Return the ends of a network that does not scale."""
    return [name for name in ("scaling", "unscaling") if not list(getattr(network, name).buffers())]
