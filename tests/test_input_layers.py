"""Periodic embeddings and input scales: by hand as by autograd, and as plain torch trains them."""

import copy
import math

import pytest
import torch
from engines import EPOCHS, KINDS, engine_of, evaluated, model_of, network_of, trained
from running import config as config_of
from torch import nn

from mlpkit.models.torch_inputs import InputScale, PeriodicEmbedding

ROUNDING = {"rtol": 1e-9, "atol": 1e-10}
BOTH = ("model.embedding=periodic", "model.embedding_frequencies=5", "model.input_scale=true")
SMALL = (
    "model.hidden=[7,6]",
    "model.activation=silu",
    "optimizer=adamw",
    "trainer.precision=float64",
)
BATCHES, FULL = "trainer.batch_size=16", "trainer.batch_size=full"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Return overrides of a table of two numbers, one of them with gaps, a category and a flag."""
    path = tmp_path_factory.mktemp("table") / "mixed.csv"
    random = torch.Generator().manual_seed(0)
    x, z = torch.randn(2, 90, generator=random).tolist()
    rows = [
        f"{a},{'abc'[i % 3]},{'' if i % 7 == 0 else b},{'yes' if i % 2 else 'no'},{math.sin(3 * a) + (i % 3)}"
        for i, (a, b) in enumerate(zip(x, z, strict=True))
    ]
    path.write_text("\n".join(["a,kind,b,flag,y", *rows]))
    return ("dataset=table", f"dataset.path={path}", "dataset.target=y")


@pytest.mark.parametrize(
    "more",
    [
        (*BOTH, BATCHES),
        (*BOTH[:2], BATCHES),
        (*BOTH[2:], BATCHES),
        (*BOTH, BATCHES, "model.dropout=0.2", "trainer.accumulate=2"),
        (*BOTH, FULL),
    ],
    ids=["both", "embedding", "scale", "accumulated", "full batch"],
)
@pytest.mark.parametrize("seeds", [1, 3])
def test_steps_by_hand_are_those_of_autograd(more, seeds, table):
    """Runs that are trained together may differ in the factor of the steps."""
    configs = [
        config_of(*table, *SMALL, *more, f"seed={seed}", f"model.input_scale_lr={6 - seed}")
        for seed in range(seeds)
    ]
    by_autograd, by_hand = (engine_of(kind, configs=configs) for kind in KINDS)
    first = model_of(by_hand)
    trained(by_hand), trained(by_autograd)
    for run in range(seeds):
        torch.testing.assert_close(by_hand.state(run), by_autograd.state(run), **ROUNDING)
    torch.testing.assert_close(evaluated(by_hand, "val"), evaluated(by_autograd, "val"), **ROUNDING)
    found = model_of(by_hand)
    same = {name for name, values in found.items() if torch.equal(values, first[name])}
    assert same == {"unscaling.mean", "unscaling.std"}
    alone = trained(engine_of(KINDS[1], configs=configs[:1]))
    torch.testing.assert_close(model_of(alone), found, **ROUNDING)


def test_plain_torch_trains_the_same(table):
    """The factor is that of a group of parameters with its own learning rate."""
    engine = engine_of(KINDS[1], *table, *SMALL, *BOTH, BATCHES)
    network, data = network_of(engine), engine.data
    embedding, scale, *rest = plain = copy.deepcopy(list(network.layers))
    assert isinstance(embedding, PeriodicEmbedding)
    assert isinstance(scale, InputScale)
    weights = [parameter for layer in (embedding, *rest) for parameter in layer.parameters()]
    groups = [{"params": weights}, {"params": [scale.scale], "lr": 0.06}]
    optimizer = torch.optim.AdamW(groups, lr=0.01, weight_decay=0.01)
    inputs, targets = data.splits["train"].inputs, data.splits["train"].scaled
    for epoch in range(EPOCHS):
        for rows in engine.rows_of_steps(epoch, 0):
            x = inputs[rows]
            waves = [
                torch.cos(
                    2 * torch.pi * x[:, [place]] * embedding.frequency[number] + embedding.phase[number]
                )
                @ embedding.weight[number].T
                + embedding.bias[number]
                for number, place in enumerate(embedding.numbers.tolist())
            ]
            outputs = nn.Sequential(*rest)(torch.cat([x, *waves], 1) * scale.scale)
            optimizer.zero_grad()
            nn.functional.mse_loss(outputs, targets[rows]).backward()
            optimizer.step()
    trained(engine)
    for found, expected in zip(network.layers, plain, strict=True):
        torch.testing.assert_close(dict(found.state_dict()), dict(expected.state_dict()), **ROUNDING)


def test_numbers_alone_are_embedded(table):
    """Neither categories nor flags; the first values are drawn as the keys say."""
    engine = engine_of(
        KINDS[1], *table, *BOTH[::2], "model.embedding_frequencies=400", "model.embedding_std=0.5"
    )
    schema = engine.experiments[0].dataset.input_schema
    assert [schema.features[place] for place in schema.numbers] == ["a", "b"]
    embedding, scale = network_of(engine).layers[:2]
    assert embedding.frequency.std().item() == pytest.approx(0.5, rel=0.1)
    assert embedding.phase.abs().max().item() == pytest.approx(torch.pi, rel=0.05)
    assert scale.scale.tolist() == [1.0] * (len(schema.features) + 2 * 3)


def test_each_wave_has_a_deviation_of_its_own():
    """From the lowest to the highest one, in equal ratios."""
    embedding = PeriodicEmbedding(range(20_000), 3, 1, (0.1, 3.0))
    embedding.initialize(torch.Generator().manual_seed(0))
    found = embedding.frequency.detach().std(0)
    torch.testing.assert_close(found, torch.tensor([0.1, math.sqrt(0.3), 3.0]), rtol=0.02, atol=0)
    alone = PeriodicEmbedding(range(5), 1, 1, (0.1, 3.0))
    alone.initialize(torch.Generator().manual_seed(0))
    assert alone.frequency.isfinite().all()


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("[3,0.1]", "embedding_std=[3.0,0.1]: must be two numbers above 0, the lower one first"),
        ("[0.1]", "must be a number ≥ 0 or two numbers above 0, the lower one first"),
    ],
)
def test_what_is_refused(value, rule, refused):
    assert rule in refused("config", "model=mlp", f"model.embedding_std={value}", code=2)
