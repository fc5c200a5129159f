"""trainer.compile: the whole step as one program, against the engine that it takes the place of."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from running import config, train
from test_together import MOONS, ROUNDING, SEEDS, lines_of, train_both
from torch.utils._pytree import tree_flatten, tree_unflatten

from mlpkit.config.config import parse, to_dict
from mlpkit.data.load import load_dataset
from mlpkit.engines import compiled, compiler
from mlpkit.engines.compiled import CompiledEngine, is_compiled
from mlpkit.engines.engine import Engine
from mlpkit.engines.whole_step import FUNCTIONS, WholeStep
from mlpkit.folders import checkpoint
from mlpkit.folders.origin import Origin
from mlpkit.folders.trust import Trust
from mlpkit.system.console import make_console
from mlpkit.training.build import build, choices_made
from mlpkit.training.start import resume_run

COMPILED = "trainer.compile=true"
NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ here")


def interpreted(plan):
    """Return what `load` does, computed by Python: the same operations, one after another."""
    _, structure = tree_flatten(compiler.example(plan, None)[0])

    def program(arguments):
        with torch.no_grad():
            return list(WholeStep(plan)(*tree_unflatten(arguments, structure)))

    return program


@pytest.fixture
def without_compiling(monkeypatch):
    monkeypatch.setattr(compiled, "load", interpreted)


def engines(base, changes):
    """Return an engine of some runs that is compiled, and one that is not."""
    found = []
    for wanted in (COMPILED, "trainer.compile=false"):
        configs = [config(*base, *change, wanted) for change in changes]
        datasets = {of.dataset.model_dump_json(): load_dataset(of.dataset) for of in configs}
        found.append(build(configs, datasets=[datasets[of.dataset.model_dump_json()] for of in configs]))
    assert [type(engine) for engine in found] == [CompiledEngine, Engine]
    return found


def train_steps(engine, steps=7):
    """Take some steps; return all that they lead to."""
    scores, configs = [], [of.config for of in engine.experiments]
    for step in range(steps):
        lrs = [configs[block.first].optimizer.lr / (step + 1) for block in engine.optimizers.blocks]
        assert engine.step(slice(None), lrs, step, step, True) == {}
        monitored = configs[0].dataset.val_fraction and "val"
        sums = engine.evaluate(monitored or "train"), engine.collect()
        scores.append([torch.as_tensor(of, dtype=torch.float64) for of in sums])
        scores[-1].append(engine.clip.norms.clone())
    return scores, [engine.state(run) for run in range(engine.runs)]


def seeds(*others):
    return [(f"seed={seed}", *others) for seed in range(3)]


LINE = ("dataset=line", "model=mlp", "model.hidden=[4]")
CASES = {
    "moons": (MOONS, seeds()),
    "one run": (MOONS, seeds()[:1]),
    "one layer": (("dataset=moons", "model=logistic"), seeds()),
    "a line": (LINE, seeds()),
    "a line of one run": (LINE, seeds()[:1]),
    "several targets": (("dataset=sum", "model=linear"), seeds()),
    "digits": (("dataset=digits", "model=mlp", "model.hidden=[2]", "trainer.batch_size=full"), seeds()),
    "float64": ((*MOONS, "trainer.precision=float64"), seeds()),
    "no bias": ((*MOONS, "model.bias=false"), seeds()),
    "no validation": ((*MOONS, "dataset.val_fraction=0"), seeds()),
    "data of their own": (MOONS, [(f"dataset.seed={seed}",) for seed in range(3)]),
    "lines of their own": (LINE, [(f"dataset.seed={seed}",) for seed in range(3)]),
    "weights": ((*MOONS, "trainer.class_weight={upper: 5, lower: 1}"), seeds()),
    "weights of one run": ((*MOONS, "trainer.class_weight={upper: 5, lower: 1}"), seeds()[:1]),
    "weights of their own": (
        (*MOONS, "trainer.class_weight=balanced"),
        [(f"dataset.seed={seed}",) for seed in range(3)],
    ),
    "sgd": ((*MOONS, "optimizer=sgd"), [(f"optimizer.lr={lr}",) for lr in (0.1, 0.3)]),
    "momentum": (
        (*MOONS, "optimizer=sgd", "optimizer.weight_decay=0.01"),
        [("optimizer.momentum=0.9",), ("optimizer.momentum=0.5", "optimizer.dampening=0.2")],
    ),
    "nesterov": (
        (*MOONS, "optimizer=sgd", "optimizer.nesterov=true"),
        [(f"optimizer.momentum={momentum}",) for momentum in (0.5, 0.9)],
    ),
    "adam": (
        (*MOONS, "optimizer=adam"),
        [
            ("optimizer.lr=0.01",),
            ("optimizer.betas=[0.5,0.9]",),
            ("optimizer.eps=1e-3",),
            ("optimizer.weight_decay=0.1",),
        ],
    ),
    "moving averages": ((*MOONS, "trainer.ema=0.8"), seeds()),
    "moving averages of one run": ((*MOONS, "trainer.ema=0.8"), seeds()[:1]),
    "averages of the last epochs": ((*MOONS, "trainer.swa=3"), seeds()),
    "adamw": ((*MOONS, "optimizer=adamw"), [(f"optimizer.weight_decay={of}",) for of in (0.0, 0.1)]),
    "limits": (
        MOONS,
        [
            (),
            ("trainer.clip_norm=0.1",),
            ("trainer.clip_value=0.01",),
            ("trainer.clip_norm=0.05", "trainer.clip_value=0.02"),
        ],
    ),
}
CASES["other widths"] = (LINE[:2], [(f"model.hidden=[{width}]",) for width in (2, 5, 3)])
CASES |= {
    f"activation {name.lower()}": ((*MOONS, f"model.activation={option}"), seeds())
    for name, option in zip(
        FUNCTIONS,
        (
            "relu",
            "leaky_relu",
            "elu",
            "gelu",
            "silu",
            "mish",
            "selu",
            "softplus",
            "tanh",
            "sigmoid",
            "identity",
        ),
        strict=True,
    )
}


@pytest.mark.sampled(12)
@pytest.mark.parametrize("case", CASES)
def test_the_whole_step_is_the_step_of_the_engine(without_compiling, case):
    (found, found_states), (expected, expected_states) = (train_steps(of) for of in engines(*CASES[case]))
    torch.testing.assert_close(found, expected, **ROUNDING)
    torch.testing.assert_close(found_states, expected_states, **ROUNDING)


@pytest.mark.parametrize("runs", [1, 3])
def test_what_is_not_finite_is_told_as_ever(without_compiling, runs):
    for engine in engines(MOONS, seeds()[:runs]):
        last = engine.runs - 1
        engine.step(slice(None), [0.1] * len(engine.optimizers.blocks), 0, 0, True)
        before = engine.state(last)
        weights = engine.parameters.of_run(engine.parameters.values, last)
        weights["layers.0.weight"].view(-1)[0] = torch.nan
        failures = engine.step(slice(None), [0.1] * len(engine.optimizers.blocks), 1, 1, True)
        assert failures == {last: "the loss is not finite"}
        if runs == 1:  # nothing has changed
            after = engine.state(last)
            torch.testing.assert_close(after["optimizer"], before["optimizer"], rtol=0, atol=0)


@pytest.mark.long
@NEEDS_COMPILER
def test_a_compiled_sweep_is_that_of_its_runs_alone_and_is_resumed(tmp_path):
    base = ("dataset=moons", "dataset.n=60", "model=mlp", "model.hidden=[3]", "trainer.epochs=12")
    pairs = train_both(tmp_path, (*base, COMPILED), SEEDS)
    quiet = ("run.plots=false", "run.tensorboard=false")
    for together, alone in pairs:
        found, expected = (checkpoint.load(of.last, checkpoint.KINDS).state for of in (together, alone))
        # Compiled, a run has the same bits whatever lies beside it.
        torch.testing.assert_close(found.tensors(), expected.tensors(), rtol=0, atol=0)
        assert json.loads(together.environment.read_text())["compiled"] is True
    plain = train(tmp_path, *base, *quiet, "seed=2", "trainer.compile=false")
    torch.testing.assert_close(
        checkpoint.load(plain.last, checkpoint.KINDS).state.tensors(), expected.tensors(), **ROUNDING
    )
    assert len(lines_of(plain)) == len(lines_of(alone))
    half = train(tmp_path, *base[:-1], *quiet, "seed=2", COMPILED, "trainer.epochs=5")
    values = to_dict(checkpoint.load(half.last, checkpoint.KINDS).config)
    values["trainer"] |= {"epochs": 12}
    resume_run(half, parse(values), Origin("mlpkit resume", Trust.FOREIGN), make_console(), print)
    found = checkpoint.load(half.last, checkpoint.KINDS).state.tensors()
    torch.testing.assert_close(found, expected.tensors(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("trainer.batch_size=8", "it is for trainer.batch_size=full"),
        ("trainer.engine=autograd", "it is not for trainer.engine=autograd"),
        ("model.dropout=0.1", "it knows no Dropout layers"),
        ("model.norm=layer", "it knows no LayerNorm layers"),
        ("model.hidden=[64,64]", "it is for up to 200 weights between units, the model has 4,288"),
    ],
)
def test_what_cannot_be_compiled_says_so(refused, override, reason):
    said = refused("train", "dataset=moons", "model=mlp", COMPILED, override, code=2)
    assert said == f"trainer.compile=true: {reason}; set trainer.compile=auto"
    assert not isinstance(build([config("dataset=moons", "model=mlp", override)]), CompiledEngine)


def test_without_a_compiler_it_says_so(refused, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    said = refused("train", "dataset=moons", "dataset.n=50", "model=logistic", COMPILED, code=2)
    assert said == (
        "trainer.compile=true: there is no C++ compiler; install g++ or set CXX to one; "
        "or set trainer.compile=false"
    )


def test_auto_compiles_where_it_saves_several_times_what_it_takes(monkeypatch):
    monkeypatch.setattr(compiled, "compiler", lambda: "g++")

    def chosen(runs, epochs, before=None, obstacle=None):
        of = config("dataset=moons", "dataset.n=300", "model=mlp", f"trainer.epochs={epochs}")
        return is_compiled([of] * runs, load_dataset(of.dataset), obstacle, before)

    assert not chosen(1, 1000)
    assert not chosen(64, 1000)
    assert chosen(256, 100_000)
    assert not chosen(256, 100_000, obstacle="it is for a CPU")
    assert not chosen(256, 100_000, before=False)
    assert chosen(1, 1000, before=True)
    monkeypatch.setattr(compiled, "compiler", lambda: None)
    assert not chosen(256, 100_000)


def test_a_run_says_whether_it_is_compiled(without_compiling):
    first, second = engines(MOONS, seeds())
    assert replace(choices_made(first), compiled=False) == choices_made(second)
