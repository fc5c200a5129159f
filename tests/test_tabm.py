"""model=tabm: members that share weights, by hand as by autograd, and as plain torch trains them."""

import copy
import csv
import itertools
import json

import pytest
import running
import torch
from cases import rest_long
from engines import EPOCHS, KINDS, engine_of, evaluated, model_of, network_of, trained
from running import config as config_of
from torch import nn

from mlpkit.analysis.predict import Ensemble, load_predictor, predictor_of
from mlpkit.data.load import load_dataset
from mlpkit.engines.manual import ManualGradients
from mlpkit.errors import ConfigError
from mlpkit.models.torch_members import MemberInputs, MemberOutputs, MemberScale
from mlpkit.training.build import build

ROUNDING = {"rtol": 1e-9, "atol": 1e-10}
TABM = (
    "model=tabm", "model.hidden=[7,6]", "model.members=3", "model.activation=silu", "optimizer=adamw",
    "trainer.precision=float64",
)  # fmt: skip
MOONS, DIGITS = ("dataset=moons", "dataset.n=60"), ("dataset=digits", "dataset.test_fraction=0.85")
DIABETES = ("dataset=diabetes", "dataset.test_fraction=0.6")
BATCHES, FULL = "trainer.batch_size=16", "trainer.batch_size=full"


def tabm(*overrides):
    """Return a config; later keys count."""
    keys = dict(each.split("=", 1) for each in (*TABM, *overrides))
    return config_of(*(f"{key}={value}" for key, value in keys.items()))


CASES = {
    "two classes": (*MOONS, BATCHES),
    "full batch": (*MOONS, FULL),
    "ten classes": (*DIGITS, BATCHES, "loss=cross_entropy", "loss.label_smoothing=0.1"),
    "values": (*DIABETES, BATCHES, "model.embedding=periodic"),
    "mini": (*MOONS, BATCHES, "model.mini=true"),
    "mini, full": (*DIABETES, FULL, "model.mini=true", "trainer.clip_norm=0.1"),
    "dropout": (*MOONS, BATCHES, "model.dropout=0.2", "trainer.accumulate=2"),
    "alpha": (*MOONS, FULL, "model.dropout=0.2", "model.dropout_kind=alpha", "trainer.class_weight=balanced"),
    "weights": (*DIGITS, BATCHES, "trainer.class_weight=balanced", "model.hidden=[5]"),
    "one member": (*MOONS, BATCHES, "model.members=1"),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("case", "seeds"),
    rest_long(
        list(itertools.product(CASES, [1, 2])),
        lambda each: each[1] == 2 or each[0] in ("two classes", "full batch"),
    ),
)
def test_steps_by_hand_are_those_of_autograd(case, seeds):
    configs = [tabm(*CASES[case], f"seed={seed}") for seed in range(seeds)]
    by_autograd, by_hand = (engine_of(kind, configs=configs) for kind in KINDS)
    first = model_of(by_hand)
    trained(by_hand), trained(by_autograd)
    for run in range(seeds):
        torch.testing.assert_close(by_hand.state(run), by_autograd.state(run), **ROUNDING)
    torch.testing.assert_close(by_hand.norms, by_autograd.norms, **ROUNDING)
    torch.testing.assert_close(evaluated(by_hand, "val"), evaluated(by_autograd, "val"), **ROUNDING)
    found = model_of(by_hand)
    same = {name for name, values in found.items() if torch.equal(values, first[name])}
    assert not [name for name in same if name.startswith("layers.")]
    if seeds > 1:
        alone = trained(engine_of(ManualGradients, configs=configs[:1]))
        torch.testing.assert_close(model_of(alone), found, **ROUNDING)


def test_runs_of_other_widths_are_trained_together():
    configs = [tabm(*MOONS, BATCHES, f"model.hidden=[{width},6]") for width in (7, 4)]
    together, alone = engine_of(ManualGradients, configs=configs), engine_of(KINDS[1], configs=configs[1:])
    torch.testing.assert_close(model_of(trained(together), 1), model_of(trained(alone)), **ROUNDING)


@pytest.mark.parametrize("mini", [False, True])
def test_plain_torch_trains_the_same(mini):
    """The paper's formula, a member after the other: W (a ⊙ r_m) ⊙ s_m + b_m, and the mean of the losses."""
    engine = engine_of(KINDS[1], *TABM, *DIGITS, BATCHES, f"model.mini={mini}")
    layers = copy.deepcopy(list(network_of(engine).layers))
    inputs, *rest, last = layers
    assert isinstance(inputs, MemberInputs)
    assert isinstance(last, MemberOutputs)
    shared = [layer for layer in rest if isinstance(layer, nn.Linear)]
    scales = [layer for layer in rest if isinstance(layer, MemberScale)]
    assert len(scales) == (0 if mini else 3)

    def member(x, m):
        a = x * inputs.scale[m]
        if mini:
            for linear in shared:
                a = nn.functional.silu(a @ linear.weight.T + linear.bias)
        else:
            s1, r2, s2 = scales
            a = nn.functional.silu((a @ shared[0].weight.T) * s1.scale[m] + s1.bias[m])
            a = nn.functional.silu(((a * r2.scale[m]) @ shared[1].weight.T) * s2.scale[m] + s2.bias[m])
        return a @ last.weight[m].T + last.bias[m]

    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.01)
    train = engine.data.splits["train"]
    for epoch in range(EPOCHS):
        for rows in engine.rows_of_steps(epoch, 0):
            losses = [
                nn.functional.cross_entropy(member(train.inputs[rows], m), train.targets[rows])
                for m in range(3)
            ]
            optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            optimizer.step()
    trained(engine)
    for found, expected in zip(network_of(engine).layers, layers, strict=True):
        torch.testing.assert_close(dict(found.state_dict()), dict(expected.state_dict()), **ROUNDING)
    x = engine.data.splits["val"].inputs
    means = torch.stack([member(x, m).softmax(1) for m in range(3)]).mean(0)
    torch.testing.assert_close(engine.outputs("val").softmax(1), means.detach(), **ROUNDING)


def test_first_weights_are_those_of_the_paper():
    """Members differ in the signs of their inputs and in the last layer; all else is the same at first."""
    engine = engine_of(KINDS[1], "model=tabm", "model.hidden=[9,8]", *DIGITS)
    signs, _, first, _, factors, _, second, _, last = network_of(engine).layers
    assert sorted(signs.scale.unique().tolist()) == [-1.0, 1.0]
    assert signs.scale.mean().abs() < 0.1
    assert all((layer.scale == 1).all() for layer in (first, factors, second))
    assert all(torch.equal(layer.bias, layer.bias[:1].expand(32, -1)) for layer in (first, second))
    assert len(last.weight.flatten(1).unique(dim=0)) == 32
    assert last.weight.abs().max() <= 8**-0.5


def test_muon_takes_the_shared_matrices_alone():
    """The first step of AdamW has the length lr for a value, or is 0 without a gradient; Muon's has not."""
    engine = engine_of(KINDS[1], "model=tabm", "optimizer=muon", "optimizer.weight_decay=0", *DIGITS)
    before = model_of(engine)
    engine.step(torch.arange(50), [0.01], 0, 0, measure=False)
    found = set()
    for name, values in model_of(engine).items():
        moved = (values - before[name]).abs()
        if ((moved > 1e-3) & (moved < 9e-3)).double().mean() > 0.5:
            found.add(name)
    assert found == {"layers.1.weight", "layers.5.weight"}


TASKS = {
    "moons": MOONS,
    "digits": DIGITS,
    "logarithms": (*DIABETES, "dataset.target_transform=log", "dataset.clip_predictions=true"),
}


@pytest.mark.parametrize("task", TASKS)
def test_members_alone_are_ordinary_networks(task):
    """Their mean probability, or value, is what the engine scores."""
    config = config_of("model=tabm", "model.members=4", "model.hidden=[9,8]", *TASKS[task], BATCHES)
    engine = trained(build([config]))
    predictor, data = predictor_of(engine.experiments[0]), load_dataset(config.dataset)
    assert isinstance(predictor, Ensemble)
    assert len(predictor.members) == 4
    network, inputs = network_of(engine), data.splits["val"].inputs
    assert {type(layer) for layer in predictor.members[0].network.layers} == {nn.Linear, nn.ReLU}
    with torch.no_grad():
        each = network(inputs)
    for own, expected in zip(predictor.members, each, strict=True):
        torch.testing.assert_close(own.outputs(inputs), expected, rtol=1e-5, atol=1e-5)
    numbers = predictor.predict(inputs).numbers
    task = engine.task
    said = each if task.probabilities is None else torch.stack([task.probabilities(own) for own in each])
    torch.testing.assert_close(numbers, said.mean(0), rtol=1e-5, atol=1e-5)
    scores = evaluated(engine, "val")
    loss = float(predictor.losses(inputs, task.encode(data.splits["val"].targets, torch.float32)).mean())
    assert scores["loss"] == pytest.approx(loss, rel=1e-4)


# ------------------------------------------------------------------------------------- commands

RUN = (
    "dataset=moons", "dataset.n=100", "model=tabm", "model.hidden=[5,4]", "model.members=3",
    "model.dropout=0.1", "trainer.batch_size=16", "trainer.epochs=4", "run.plots=false",
    "run.tensorboard=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return running.train(tmp_path_factory.mktemp("tabm"), *RUN, "trainer.ema=0.9")


def test_shared_weights_are_saved_once(run):
    predictor, stored = load_predictor(run.best)
    assert isinstance(predictor, Ensemble)
    assert stored.state.model["layers.1.weight"].shape == (5, 2)
    assert stored.state.model["layers.10.weight"].shape == (3, 1, 4)
    assert len(predictor.members) == 3
    summary = json.loads(run.summary.read_text())
    assert summary["status"] == "done"


def test_predict_says_how_far_members_are_apart(run, tmp_path):
    output = tmp_path / "found.csv"
    arguments = ("predict", str(run.path), "--spread", "--values", "0.3,0.5", "--output", str(output))
    running.mlpkit(*arguments, cwd=tmp_path)
    (row,) = csv.DictReader(output.read_text().splitlines())
    predictor, _ = load_predictor(run.best)
    assert isinstance(predictor, Ensemble)
    expected = predictor.spread(torch.tensor([[0.3, 0.5]]))
    assert float(row["spread"]) == pytest.approx(float(expected[0, 0]), rel=1e-5)
    assert float(row["spread"]) > 0


@pytest.mark.parametrize(
    "format_", rest_long(["python", "state_dict", "torch", "onnx", "c"], lambda name: name == "python")
)
def test_every_export_holds_it(format_, run, tmp_path):
    """Each is checked against mlpkit's own predictions before it is kept."""
    output = tmp_path / "export"
    running.mlpkit("export", str(run.path), f"--format={format_}", f"--output={output}", cwd=tmp_path)
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["check"]["largest_difference"] <= manifest["check"]["allowed_difference"]


def test_a_stopped_run_resumes_to_the_bit(tmp_path):
    chosen = (*RUN, "trainer.checkpoint_every=3steps", "trainer.keep_last=9")
    whole = running.train(tmp_path, *chosen)
    expected = running.content(whole.last)
    running.mlpkit("resume", str(whole.at_step(6)), cwd=tmp_path)
    assert running.content(whole.last) == expected


REFUSED = {
    "dataset.val_folds=3": (
        "dataset.val_folds=3: no row would be held out, since the members of model=tabm share weights; set "
        "dataset.val_folds=null"
    ),
    "run.film=1": ("run.film=1: is for one network, and the model has 3 (model.members); leave it out"),
}


def test_what_is_for_one_network_is_refused(refused):
    for key, said in REFUSED.items():
        of_data = ("dataset=breast_cancer",) if "folds" in key else ("dataset=moons",)
        found = refused("train", *of_data, "model=tabm", "model.members=3", key, code=ConfigError.exit_code)
        assert found == said
