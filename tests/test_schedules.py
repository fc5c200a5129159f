"""Every schedule gives the rates of torch's class, at every step of a run."""

import json
import math
import random
from dataclasses import asdict

import pytest
import torch
from torch.optim import lr_scheduler

from mlpkit.cli.main import run as command
from mlpkit.optimizers.cosine import CosineDecay
from mlpkit.optimizers.cosine_restarts import CosineRestarts
from mlpkit.optimizers.exponential import ExponentialDecay
from mlpkit.optimizers.inverse_sqrt import InverseSqrtDecay
from mlpkit.optimizers.linear import LinearDecay
from mlpkit.optimizers.multistep import MultiStepDecay
from mlpkit.optimizers.none import ConstantSchedule
from mlpkit.optimizers.onecycle import OneCycle
from mlpkit.optimizers.plateau import Plateau, PlateauState
from mlpkit.optimizers.schedule import PARTS, build_schedule
from mlpkit.optimizers.step import StepDecay
from mlpkit.optimizers.wsd import WarmupStableDecay

LR = 0.3
UNITS = 60  # length of the runs, in what the schedule counts

STEP = [{"step_size": 1, "gamma": 0.9}, {"step_size": 7, "gamma": 0.5}, {"step_size": 100}]
MULTISTEP = [{"milestones": [10, 20]}, {"milestones": [1, 7, 7, 59], "gamma": 0.5}, {"milestones": [999]}]
EXPONENTIAL = [{"gamma": 0.95}, {"gamma": 1.01}]
COSINE = [{}, {"eta_min": 0.01}, {"t_max": 7, "eta_min": 0.01}, {"t_max": 200}]
LINEAR = [
    {},
    {"start_factor": 0.25, "end_factor": 1.0},
    {"start_factor": 0.9, "end_factor": 0.1, "total_iters": 11},
]
ONE_CYCLE = [
    {},
    {"pct_start": 0.5, "anneal_strategy": "linear", "div_factor": 10.0},
    {"pct_start": 0.1, "final_div_factor": 3.0},
    {"pct_start": 1.0},
    {"pct_start": 0.01},  # less than a step of rising
]
RESTARTS = [{}, {"t_0": 7, "eta_min": 0.01}, {"t_0": 3, "t_mult": 2}, {"t_0": 1, "t_mult": 3, "eta_min": 0.1}]
STABLE = [
    {"shape": "linear"},
    {"shape": "linear", "decay_fraction": 1.0, "end_factor": 0.1},
    {"shape": "linear", "decay_fraction": 0.001},  # less than a step of falling
    {"shape": "cos", "decay_fraction": 0.5, "end_factor": 0.3},
    {},
]
INVERSE_SQRT = [{}, {"timescale": 1}, {"timescale": 40}]
CASES = (
    [(StepDecay, "step", options) for options in STEP]
    + [(MultiStepDecay, "multistep", options) for options in MULTISTEP]
    + [(ExponentialDecay, "exponential", options) for options in EXPONENTIAL]
    + [(CosineDecay, "cosine", options) for options in COSINE]
    + [(CosineRestarts, "cosine_restarts", options) for options in RESTARTS]
    + [(LinearDecay, "linear", options) for options in LINEAR]
    + [(WarmupStableDecay, "wsd", options) for options in STABLE]
    + [(InverseSqrtDecay, "inverse_sqrt", options) for options in INVERSE_SQRT]
    + [(OneCycle, "onecycle", options) for options in ONE_CYCLE]
)
IDS = [f"{name}-{json.dumps(options)}" for _, name, options in CASES]


def torch_scheduler(optimizer, name, options):
    """Return torch's scheduler for the options of a config, whose defaults it takes over."""
    if name == "step":
        return lr_scheduler.StepLR(optimizer, options["step_size"], options.get("gamma", 0.1))
    if name == "multistep":
        return lr_scheduler.MultiStepLR(optimizer, options["milestones"], options.get("gamma", 0.1))
    if name == "exponential":
        return lr_scheduler.ExponentialLR(optimizer, options["gamma"])
    if name == "cosine":
        return lr_scheduler.CosineAnnealingLR(
            optimizer, options.get("t_max", UNITS), options.get("eta_min", 0.0)
        )
    if name == "linear":
        options = {"start_factor": 1.0, "end_factor": 0.0, "total_iters": UNITS, **options}
        return lr_scheduler.LinearLR(optimizer, **options)
    if name == "cosine_restarts":
        return lr_scheduler.CosineAnnealingWarmRestarts(
            optimizer, options.get("t_0", 10), options.get("t_mult", 1), options.get("eta_min", 0.0)
        )
    if name == "inverse_sqrt":
        timescale = options.get("timescale", 1000)
        return lr_scheduler.LambdaLR(optimizer, lambda t: 1 / math.sqrt((t + timescale) / timescale))
    if name == "wsd":
        return stable_then_down(optimizer, **options)
    assert name == "onecycle"
    return lr_scheduler.OneCycleLR(optimizer, LR, total_steps=UNITS, cycle_momentum=False, **options)


def stable_then_down(optimizer, decay_fraction=0.2, end_factor=0.0, shape="sqrt"):
    """Return torch's schedulers in a row, as one that can itself stand in a row; it has none for the root."""
    other = an_optimizer()
    length = max(1, round(decay_fraction * UNITS))
    down = {
        "linear": lambda: lr_scheduler.LinearLR(other, 1.0, end_factor, length),
        "cos": lambda: lr_scheduler.CosineAnnealingLR(other, length, end_factor * LR),
        "sqrt": lambda: lr_scheduler.LambdaLR(other, lambda t: 1 - (t / length) ** 0.5),
    }
    sequence = down[shape]()
    if length < UNITS:
        stable = lr_scheduler.ConstantLR(other, 1.0)
        sequence = lr_scheduler.SequentialLR(other, [stable, sequence], [UNITS - length])
    rates = torch_rates(other, sequence, UNITS + 1)
    return lr_scheduler.LambdaLR(optimizer, lambda t: rates[t] / LR)


def an_optimizer():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)


def torch_rates(optimizer, scheduler, count):
    """Return the rates of the first steps."""
    rates = [optimizer.param_groups[0]["lr"]]
    while len(rates) < count:
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def mlpkit_rates(config, steps_per_epoch, epochs):
    schedule = build_schedule(config, LR, steps_per_epoch, epochs)
    return [LR * schedule(step, 0.0) for step in range(steps_per_epoch * epochs)]


def same(rates):
    return pytest.approx(rates, rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("unit", ["step", "epoch"])
@pytest.mark.parametrize(("kind", "name", "options"), CASES, ids=IDS)
def test_equals_torch_at_every_step(kind, name, options, unit):
    optimizer = an_optimizer()
    expected = torch_rates(optimizer, torch_scheduler(optimizer, name, options), UNITS)
    config = kind(name=name, unit=unit, **options)
    if unit == "step":
        assert mlpkit_rates(config, steps_per_epoch=6, epochs=UNITS // 6) == same(expected)
    else:
        assert mlpkit_rates(config, 3, UNITS) == same([rate for rate in expected for _ in range(3)])


@pytest.mark.parametrize("warmup", [1, 2, 9])
@pytest.mark.parametrize(
    ("kind", "name", "options"),
    # torch's OneCycleLR changes the rate that a warm-up in front of it rises to; see the next test
    [case for case in CASES if case[1] != "onecycle"],
    ids=[name for name in IDS if "onecycle" not in name],
)
def test_warmup_equals_torch_sequential(kind, name, options, warmup):
    optimizer = an_optimizer()
    first = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    second = torch_scheduler(optimizer, name, options)
    sequence = lr_scheduler.SequentialLR(optimizer, [first, second], milestones=[warmup])
    config = kind(name=name, unit="step", warmup_steps=warmup, **options)
    assert mlpkit_rates(config, 1, UNITS + warmup) == same(torch_rates(optimizer, sequence, UNITS + warmup))


@pytest.mark.parametrize("unit", ["step", "epoch"])
@pytest.mark.parametrize(("kind", "name", "options"), CASES, ids=IDS)
def test_time_begins_where_warmup_ends(kind, name, options, unit):
    warmup, per_unit = 6, 3 if unit == "epoch" else 1
    config = kind(name=name, unit=unit, warmup_steps=warmup, **options)
    plain = kind(name=name, unit=unit, **options)
    rates = mlpkit_rates(config, 3, (UNITS * per_unit + warmup) // 3)
    assert rates[:warmup] == same([LR * (step + 1) / (warmup + 1) for step in range(warmup)])
    assert rates[warmup:] == same(mlpkit_rates(plain, per_unit, UNITS))


@pytest.mark.parametrize("warmup", [0, 4])
def test_none_is_constant_after_warmup(warmup):
    optimizer = an_optimizer()
    first = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    rest = lr_scheduler.ConstantLR(optimizer, factor=1.0)
    sequence = lr_scheduler.SequentialLR(optimizer, [first, rest], milestones=[warmup])
    config = ConstantSchedule(name="none", warmup_steps=warmup)
    assert mlpkit_rates(config, 5, 4) == same(torch_rates(optimizer, sequence, 20))


def test_warmup_longer_than_the_run_rises_to_the_end():
    config = CosineDecay(name="cosine", warmup_steps=40)
    assert mlpkit_rates(config, 5, 4) == same([LR * (step + 1) / 41 for step in range(20)])


@pytest.mark.parametrize("kind", [CosineDecay, LinearDecay])
def test_by_epoch_every_step_of_a_run_has_a_rate(kind):
    """The last epoch is a whole one, also where the warm-up leaves a part of an epoch over."""
    name = "cosine" if kind is CosineDecay else "linear"
    rates = mlpkit_rates(kind(name=name, unit="epoch", warmup_steps=10), steps_per_epoch=100, epochs=5)
    assert min(rates) > 0.01 * LR


def test_one_cycle_of_one_step_and_of_a_step_of_rising():
    """Where torch divides by zero: a rise of exactly one step begins at its end."""
    assert mlpkit_rates(OneCycle(name="onecycle"), 1, 1) == same([LR / 25 / 1e4])
    assert mlpkit_rates(OneCycle(name="onecycle", pct_start=0.25), 4, 1)[0] == same(LR)


PLATEAU = [
    {"patience": 0},
    {"patience": 2, "factor": 0.5},
    {"patience": 1, "factor": 0.3, "cooldown": 3},
    {"patience": 1, "threshold": 0.05, "threshold_mode": "abs"},
    {"patience": 2, "threshold": 0.2, "threshold_mode": "rel"},
    {"patience": 0, "factor": 0.5, "min_lr": 0.02},
    {"patience": 0, "factor": 0.5, "min_lr": 0.5},
    {"patience": 0, "factor": 0.9, "eps": 0.02},
]


def scores(seed, higher_is_better, strange=()):
    """Return 120 values that improve less and less, some of them strange."""
    draw = random.Random(seed)
    sign = 1 if higher_is_better else -1
    values = [sign * (1 - math.exp(-t / 20)) + draw.gauss(0, 0.05) for t in range(120)]
    return [draw.choice(strange) if strange and draw.random() < 0.2 else value for value in values]


def compare_plateau(options, values, higher_is_better):
    """Show the values to both; return the number of different rates."""
    config = Plateau(name="plateau", **options)
    optimizer, state = an_optimizer(), PlateauState()
    keywords = {"factor": 0.1, **options}
    mode = "max" if higher_is_better else "min"
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode, **keywords)
    rates = []
    for value in values:
        scheduler.step(value)
        state.update(value, config, LR, higher_is_better)
        state = PlateauState(**json.loads(json.dumps(asdict(state))))  # as a checkpoint keeps it
        rates.append(LR * state.multiplier)
        assert rates[-1] == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
    return len(set(rates))


@pytest.mark.sampled(4)
@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("options", PLATEAU, ids=json.dumps)
def test_plateau_equals_torch(options, higher_is_better):
    different = [
        compare_plateau(options, scores(seed, higher_is_better, strange), higher_is_better)
        for seed in range(10)
        for strange in ((), (math.nan,))
    ]
    assert max(different) > 1 or options.get("min_lr", 0) > LR  # otherwise nothing was compared


@pytest.mark.sampled(4)
@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("options", PLATEAU, ids=json.dumps)
def test_plateau_equals_torch_after_infinite_values(options, higher_is_better):
    worst = -math.inf if higher_is_better else math.inf
    for seed in range(10):
        values = [worst, *scores(seed, higher_is_better, (worst, math.nan))]
        compare_plateau(options, values, higher_is_better)


def test_nan_is_never_an_improvement():
    state, config = PlateauState(), Plateau(name="plateau", patience=2, factor=0.5)
    for bad_epochs in (1, 2):
        state.update(math.nan, config, LR, higher_is_better=False)
        assert state == PlateauState(bad_epochs=bad_epochs)
    state.update(math.nan, config, LR, higher_is_better=False)
    assert state == PlateauState(multiplier=0.5)


@pytest.mark.parametrize("warmup", [0, 3])
def test_plateau_alone_is_constant_after_warmup(warmup):
    """Its decay is a factor of its own, which the trainer multiplies in."""
    rates = mlpkit_rates(Plateau(name="plateau", warmup_steps=warmup), 2, 4)
    assert rates == same([LR * min(1, (step + 1) / (warmup + 1)) for step in range(8)])


# ------------------------------------------------------------------------------------------ over time


@pytest.mark.parametrize(
    ("kind", "name"), [(CosineDecay, "cosine"), (LinearDecay, "linear"), (OneCycle, "onecycle")]
)
def test_over_time_a_schedule_is_a_function_of_the_share_of_time(kind, name):
    schedule = build_schedule(kind(name=name, over="time"), LR, 7, 3, time_limit=5.0)
    by_steps = build_schedule(kind(name=name), LR, PARTS, 1)
    for part in (0, 1, 1234, 5000, PARTS - 1):
        assert schedule(17, 5.0 * (part + 0.5) / PARTS) == by_steps(part, 0.0)
    assert schedule(17, 99.0) == by_steps(PARTS - 1, 0.0)  # the last epoch ends after the limit


def lines_of(run):
    lines = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["split"] == "val"]


@pytest.mark.long
def test_a_run_over_time_and_its_resumption_follow_the_clock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, limit = tmp_path / "run", 0.6
    chosen = ("dataset=moons", "model=mlp", "model.hidden=[4]", "optimizer=sgd", "optimizer.lr=0.1")
    options = ("scheduler=linear", "scheduler.over=time", f"trainer.time_limit={limit}", "run.plots=false")
    assert command(["train", *chosen, *options, "trainer.epochs=20", f"run.dir={run}"]) == 0
    assert command(["resume", str(run), "trainer.epochs=1000000"]) == 0
    lines = lines_of(run)
    assert len(lines) > 25
    seconds = 0.0
    for line in lines:
        share = 1 - line["lr"] / 0.1
        assert seconds / limit - 2 / PARTS <= share <= min(line["seconds"] / limit + 1 / PARTS, 1)
        seconds = line["seconds"]
    assert limit < seconds < 5 * limit
    assert lines[-1]["lr"] < 0.02


def test_what_cannot_go_by_the_time_is_refused(refused):
    chosen = ("train", "dataset=moons", "scheduler.over=time")
    assert refused(*chosen, "scheduler=cosine", code=2) == (
        "scheduler.over=time: needs trainer.time_limit, the seconds of the whole run"
    )
    assert refused(*chosen, "scheduler=cosine", "scheduler.t_max=9", "trainer.time_limit=9", code=2) == (
        "scheduler.over=time: scheduler=cosine has a length of its own; leave it out, or set "
        "scheduler.over=steps"
    )
