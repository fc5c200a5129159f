"""Raw in, raw out: the scalings are layers, and a standardised model answers in the targets' own unit."""

import pytest
import running
import torch
from engines import KINDS, engine_of, evaluated, network_of
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from mlpkit.data.load import load_dataset
from mlpkit.data.scaling import Affine, column_scaling
from mlpkit.models.torch_layers import Scaling, Unscaling
from mlpkit.models.torch_network import build_model

LINE = (
    "dataset=line",
    "dataset.intercept=-500",
    "dataset.slope=20",
    "dataset.low=100",
    "dataset.high=120",
    "dataset.standardize=true",
    "optimizer=sgd",
    "optimizer.lr=0.3",
    "trainer.precision=float64",
)


def build(*overrides):
    config = running.config(*overrides)
    dataset = load_dataset(config.dataset)
    return config, dataset, build_model(config, dataset)


def draw(rows, columns):
    random = torch.Generator().manual_seed(0)
    return torch.randn(rows, columns, generator=random) * torch.arange(1, columns + 1) ** 3 + 100


def test_a_weight_counts_like_repeated_rows():
    values, counts = torch.rand(1000, 200) * 3 + 5, torch.arange(1000) % 3  # several blocks of rows
    values[:, 0] = 0.1
    weighted, repeated = column_scaling(values, counts), column_scaling(values.repeat_interleave(counts, 0))
    torch.testing.assert_close(weighted.mean, repeated.mean)
    torch.testing.assert_close(weighted.std, repeated.std)
    assert weighted.std[0] == 1


def test_column_scaling_equals_sklearn():
    values = draw(200, 6)
    scaling, expected = column_scaling(values), StandardScaler().fit(values.double().numpy())
    assert scaling.mean.tolist() == pytest.approx(expected.mean_)
    assert scaling.std.tolist() == pytest.approx(expected.scale_)
    scaled = Scaling(scaling)(values)
    assert scaled.mean(0).tolist() == pytest.approx([0] * 6, abs=1e-5)
    assert scaled.std(0, correction=0).tolist() == pytest.approx([1] * 6, abs=1e-5)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e30])
@pytest.mark.parametrize("rows", [1, 3, 999])
def test_a_constant_column_keeps_its_scale(constant, rows):
    scaling = column_scaling(torch.full((rows, 1), constant))
    assert scaling.std.tolist() == [1]
    assert scaling.mean.tolist() == torch.tensor([constant]).tolist()


def test_unscaling_is_the_inverse():
    values = draw(50, 4).double()
    affine = Affine(values.mean(0), values.std(0))
    torch.testing.assert_close(Unscaling(affine)(Scaling(affine)(values)), values)
    torch.testing.assert_close(Scaling(affine)(Unscaling(affine)(values)), values)


def test_the_values_are_buffers_and_copies():
    affine = Affine(torch.ones(2), torch.ones(2))
    layer = Scaling(affine)
    affine.mean.zero_()
    assert {name: value.tolist() for name, value in layer.state_dict().items()} == {
        "mean": [1, 1],
        "std": [1, 1],
    }
    assert list(layer.parameters()) == []
    layer.set(Affine(torch.tensor([3.0, 4.0]), torch.tensor([5.0, 6.0])))
    assert layer(torch.tensor([[3.0, 10.0]])).tolist() == [[0, 1]]


def test_a_standardised_network_is_the_formula():
    _, dataset, network = build(*LINE, "model=mlp", "model.hidden=[5]", "model.activation=tanh")
    x, y = dataset.splits["train"].inputs.double(), dataset.splits["train"].targets.double()
    raw = torch.tensor([[99.0], [107.5], [130.0]], dtype=torch.float64)
    first, second = (layer for layer in network.layers if isinstance(layer, nn.Linear))
    units = torch.tanh((raw - x.mean()) / x.std(correction=0) @ first.weight.T + first.bias)
    expected = (units @ second.weight.T + second.bias) * y.std(correction=0) + y.mean()
    torch.testing.assert_close(network(raw), expected, rtol=1e-6, atol=0)  # the buffers are float32 numbers


@pytest.mark.parametrize("standardize", [True, False])
def test_inputs_are_scaled_by_the_training_rows(standardize):
    _, dataset, network = build("dataset=moons", f"dataset.standardize={standardize}")
    if standardize:
        train = dataset.splits["train"].inputs.double()
        torch.testing.assert_close(network.scaling.mean, train.mean(0).float())
        torch.testing.assert_close(network.scaling.std, train.std(0, correction=0).float())
    else:
        assert isinstance(network.scaling, nn.Identity)
    assert isinstance(network.unscaling, nn.Identity)  # classes have no unit


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def trained(request):
    """Return the dataset, the network and the engine of a line that has been fitted."""
    engine = engine_of(request.param, *LINE, "model=linear")
    for step in range(60):
        engine.step(slice(None), [0.3], step, step, measure=False)
        engine.collect()
    return engine.experiments[0].dataset, network_of(engine), engine


def test_a_trained_line_is_that_of_sklearn_in_raw_units(trained):
    dataset, network, engine = trained
    train, test = dataset.splits["train"], dataset.splits["test"]
    exact = LinearRegression().fit(train.inputs.double().numpy(), train.targets.double().numpy())
    expected = exact.predict(test.inputs.double().numpy())
    with torch.no_grad():
        predicted = network(test.inputs.double())
    torch.testing.assert_close(predicted, torch.from_numpy(expected), rtol=1e-6, atol=0)
    expected = exact.score(test.inputs.double().numpy(), test.targets.double().numpy())
    assert evaluated(engine, "test")["r2"] == pytest.approx(expected, rel=1e-6)


def test_scores_are_in_raw_units_and_the_loss_is_of_scaled_targets(trained):
    dataset, network, engine = trained
    inputs, targets = dataset.splits["test"].inputs.double(), dataset.splits["test"].targets.double()
    scores = evaluated(engine, "test")
    with torch.no_grad():
        errors = network(inputs) - targets
    assert scores["mae"] == pytest.approx(errors.abs().mean().item())
    assert scores["rmse"] == pytest.approx(errors.square().mean().sqrt().item())
    scale = dataset.target_scaling.std.item()
    assert scores["loss"] == pytest.approx(errors.square().mean().item() / scale**2)
