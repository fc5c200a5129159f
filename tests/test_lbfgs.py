"""optimizer=lbfgs trains as torch.optim.LBFGS does, alone, by full batches; and goes on where it stopped."""

import copy
import itertools
from typing import Any

import pytest
import running
import torch
from cases import rest_long
from engines import KINDS, Kind, engine_of, network_of
from torch import nn

from mlpkit.cli.main import run as command
from mlpkit.config.registry import choices
from mlpkit.errors import ConfigError
from mlpkit.models.torch_layers import Dropout, seed_dropout
from mlpkit.optimizers.lbfgs import Lbfgs

SMALL = ("model.hidden=[6,5]", "model.activation=tanh", "optimizer=lbfgs", "trainer.precision=float64")
MOONS, DIABETES = ("dataset=moons", "dataset.n=80"), ("dataset=diabetes",)
CASES: dict[str, Any] = {
    "two classes": (*MOONS, {}),
    "values": (*DIABETES, {"max_iter": 7}),
    "a short history": (*MOONS, {"history_size": 3, "max_iter": 5}),
    "no line search": (*MOONS, {"line_search": "none", "lr": 0.05, "max_iter": 4}),
    "penalty": (*MOONS, {"weight_decay": 0.01, "max_iter": 6}),
    "few evaluations": (*MOONS, {"max_eval": 6}),
    "dropout": (*MOONS, "model.dropout=0.3", {"max_iter": 4}),
}
STEPS = 6


def test_defaults_are_torchs() -> None:
    """But for a shorter history, and a line search."""
    (defaults,) = torch.optim.LBFGS([torch.zeros(1)]).param_groups
    schema = choices("optimizer")["lbfgs"]
    assert schema is Lbfgs
    own = Lbfgs(name="lbfgs")
    for name in ("lr", "max_iter", "tolerance_grad", "tolerance_change"):
        assert getattr(own, name) == defaults[name]
    assert defaults["max_eval"] == 25  # what null means
    assert (defaults["history_size"], defaults["line_search_fn"]) == (100, None)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("case", "kind"),
    rest_long(
        list(itertools.product(CASES, KINDS)),
        lambda each: each[1] is KINDS[1] or each[0] == "a short history",
    ),
)
def test_it_is_the_optimizer_of_torch(case: str, kind: Kind) -> None:
    """Its state is read from the slots of a checkpoint at each step, which changes no digit."""
    *overrides, options = copy.deepcopy(CASES[case])
    keys = (f"optimizer.{key}={value}" for key, value in options.items())
    engine = engine_of(kind, *SMALL, *overrides, *keys)
    network, data = network_of(engine), engine.data
    plain = copy.deepcopy(network.layers).train()
    search = options.pop("line_search", "strong_wolfe")
    decay = options.pop("weight_decay", 0.0)
    options = {"history_size": 10, "lr": 1.0} | options
    optimizer = torch.optim.LBFGS(
        plain.parameters(), line_search_fn=None if search == "none" else search, **options
    )
    inputs, targets = data.all_rows("train", "inputs"), data.all_rows("train", "scaled")
    loss_of = nn.MSELoss() if "dataset=diabetes" in overrides else nn.BCEWithLogitsLoss()
    masks = [layer.random for layer in plain if isinstance(layer, Dropout)]
    losses = []
    for step in range(STEPS):

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            seed_dropout(masks, 0, step, step)  # noqa: B023  # called within the step
            loss = loss_of(plain(inputs), targets)
            losses.append(loss.item())
            penalty = sum(parameter.square().sum() for parameter in plain.parameters())
            loss = loss + decay / 2 * penalty
            loss.backward()
            return loss

        losses.clear()
        optimizer.step(closure)
        assert not engine.step(slice(None), [options["lr"]], step, step, measure=True)
        found = engine.scores(engine.collect(), "train")["loss"]
        assert found == pytest.approx(losses[0], rel=1e-6)  # before the step
    expected = dict(plain.state_dict())
    torch.testing.assert_close(dict(network.layers.state_dict()), expected, rtol=1e-6, atol=1e-7)


def test_a_linear_model_comes_to_least_squares() -> None:
    """Which has a closed form."""
    engine = engine_of(KINDS[1], *DIABETES, "model=linear", "optimizer=lbfgs", "trainer.precision=float64")
    for step in range(4):
        engine.step(slice(None), [1.0], step, step, measure=False)
    inputs, targets = (engine.data.all_rows("train", kind) for kind in ("inputs", "scaled"))
    ones = torch.ones(len(inputs), 1, dtype=torch.float64)
    inputs = torch.cat([inputs, ones], 1)
    best = (inputs @ torch.linalg.lstsq(inputs, targets).solution - targets).square().mean()
    loss = (engine.outputs("train") - targets).square().mean()
    assert loss.item() == pytest.approx(best.item(), rel=1e-7)


def test_a_step_that_has_nothing_to_do() -> None:
    engine = engine_of(KINDS[1], *MOONS, *SMALL, "optimizer.tolerance_grad=10")
    before = engine.state(0)["model"]
    for step in range(2):
        engine.step(slice(None), [1.0], step, step, measure=False)
    state = engine.state(0)
    assert all(torch.equal(values, state["model"][name]) for name, values in before.items())
    assert state["optimizer"]["layers.0.weight/n_iter"] == 0


MLP = ("dataset=moons", "model=mlp", "optimizer=lbfgs")
RUN = ("run.loggers=[]", "run.plots=false", *MLP, "model.hidden=[8]")


def test_a_stopped_run_resumes_to_the_bit(tmp_path, monkeypatch) -> None:
    """In the middle, with pairs of changes in the checkpoint."""
    chosen = (*RUN, "optimizer.max_iter=3", "trainer.epochs=6", "trainer.checkpoint_every=1")
    whole = running.train(tmp_path, *chosen, "trainer.keep_last=9", "run.name=whole")
    expected = running.content(whole.last)
    tensors = expected["tensors"]
    assert any("/y" in name for name in tensors)
    monkeypatch.chdir(tmp_path)
    assert command(["resume", str(whole.at_step(3))]) == 0
    assert running.content(whole.last) == expected


def test_a_sweep_trains_each_run_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = [*RUN, "trainer.epochs=3"]
    assert command(["train", "-m", *chosen, "seed=0,1", "run.root=swept"]) == 0
    found = {}
    for path in (tmp_path / "swept").glob("**/last.safetensors"):
        content = running.content(path)
        found[content["about"][0]["seed"]] = content["tensors"]
    for seed in (0, 1):
        alone = running.train(tmp_path / f"alone{seed}", *chosen, f"seed={seed}")
        assert found[seed] == running.content(alone.last)["tensors"]


REFUSED = {
    ("trainer.batch_size=32",): (
        "trainer.batch_size=32: its line search compares losses of the same rows; set trainer.batch_size=full"
    ),
    ("trainer.clip_norm=1",): (
        "trainer.clip_norm: its line search needs the gradient as it is; leave trainer.clip_norm out"
    ),
    ("model.members=2",): "model.members=2: it trains one network; set model.members=1",
    ("model.input_scale=true",): (
        "model.input_scale_lr: it takes steps of one length; set model.input_scale_lr=1"
    ),
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_what_it_cannot_train(overrides, refused) -> None:
    said = refused("train", *MLP, *overrides, code=ConfigError.exit_code)
    assert said == f"optimizer=lbfgs: {REFUSED[overrides]}"
