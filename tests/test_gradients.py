"""Gradients by hand are those of autograd and of plain torch; a step with them makes no new tensors."""

import copy
import itertools
import json
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import KINDS as KINDS_OF_ENGINES
from engines import collected, engine_of, evaluated, model_of, network_of
from running import config as config_of
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import StepLR
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mlpkit.cli.compose import Request, compose
from mlpkit.cli.main import run as command
from mlpkit.config.config import parse
from mlpkit.data.dataset import Split
from mlpkit.data.load import load_dataset
from mlpkit.engines.autograd import AutogradGradients
from mlpkit.engines.batches import order_of
from mlpkit.engines.choose import choose_engine
from mlpkit.engines.cuda import CudaEngine
from mlpkit.engines.engine import Engine
from mlpkit.engines.manual import ManualGradients
from mlpkit.errors import ConfigError
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.losses.binary_cross_entropy import BinaryCrossEntropy
from mlpkit.models.torch_layers import Dropout, seed_dropout
from mlpkit.models.torch_network import build_model
from mlpkit.optimizers.schedule import build_schedule

FULL = os.environ.get("MLPKIT_EQUALITY") == "full"
STEPS = 50
# Sums of the same products in another order differ by about 1e-7 of a float32 and 1e-16 of a float64. Fifty
# steps add such differences up, and Adam divides by gradients that may be nearly as small as they are. The
# most that was seen is 2e-5 and 2e-14, of weights, averages and scores of the order of one.
FLOAT32 = {"rtol": 1e-4, "atol": 1e-4}
FLOAT64 = {"rtol": 1e-10, "atol": 1e-11}
BOUNDS = {"float32": FLOAT32, "float64": FLOAT64}

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
    "mish": nn.Mish,
    "selu": nn.SELU,
    "softplus": nn.Softplus,
    "prelu": nn.PReLU,
}
LOSSES = {"line": nn.MSELoss(), "moons": nn.BCEWithLogitsLoss(), "digits": nn.CrossEntropyLoss()}
SMALL = {
    "line": ("dataset.n=100", "dataset.low=-1", "dataset.high=1", "dataset.noise=0.5"),
    "moons": ("dataset.n=100",),
    "digits": ("dataset.test_fraction=0.85",),
}
# With momentum and a rate of 0.05, or without and 0.1, the loss of a deep line swings: torch's own weights
# are up to 5e-4 from those in float64 after fifty steps, no case for a comparison of rounding.
OPTIMIZERS = {
    "sgd": (SGD, {"lr": 0.05}),
    "momentum": (SGD, {"lr": 0.02, "momentum": 0.9}),
    "nesterov": (SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    "dampening": (SGD, {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1}),
    "adam": (Adam, {"lr": 0.01}),
    "adam with decay": (Adam, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}),
    "adamw": (AdamW, {"lr": 0.01, "weight_decay": 0.1}),
}
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "nothing": {"trainer": {"batch_size": "full"}},
    "dropout": {"model": {"dropout": 0.3}},
    "clip_norm": {"trainer": {"clip_norm": 0.02}},
    "clip_value": {"trainer": {"clip_value": 0.005}},
    "accumulate": {"trainer": {"batch_size": 8, "accumulate": 2}},
    "schedule": {"scheduler": {"name": "step", "unit": "step", "step_size": 20, "gamma": 0.3}},
}
KINDS: tuple[dict[str, Any], ...] = (ACTIVATIONS, LOSSES, OPTIMIZERS, OPTIONS)


def cases():
    """Yield activation × loss × optimizer with an option and a precision: all of them with FULL.

    Else so few that each activation, loss, optimizer, option and precision just meets each other one.
    """
    for indices in itertools.product(*(range(len(kind)) for kind in KINDS[:3])):
        activation, loss, optimizer = indices
        turn, third = (activation + 2 * loss + 3 * optimizer) % len(OPTIONS), sum(indices) % 3 == 0
        for option in range(len(OPTIONS)) if FULL else [turn] * third:
            case = [list(kind)[index] for kind, index in zip(KINDS, (*indices, option), strict=True)]
            for number, precision in enumerate(BOUNDS):
                if FULL or sum(indices) % 2 == number:
                    yield (*case, precision)


CASES = list(cases())


@cache
def composed(*overrides):
    """Return the content of a config as JSON, for a copy of one's own, and its dataset."""
    content = compose(Request(overrides))
    return json.dumps(content), load_dataset(parse(content).dataset)


def configured(dataset, activation, optimizer, option, precision):
    text, data = composed(f"dataset={dataset}", "dataset.standardize=false", *SMALL[dataset])
    content = json.loads(text)
    kind, options = OPTIMIZERS[optimizer]
    content["model"] = {"name": "mlp", "hidden": [6, 5], "activation": activation}
    content["optimizer"] = {"name": kind.__name__.lower()} | options
    content["trainer"] |= {"batch_size": 16, "precision": precision}
    for section, values in OPTIONS[option].items():
        content[section] = values if section == "scheduler" else content[section] | values
    return parse(content), data


def batches(config, rows):
    """Yield epoch, step, rows of the step, and whether it is its epoch's last."""
    trainer, step = config.trainer, 0
    for epoch in itertools.count():
        of_epoch = [slice(None)]
        if trainer.batch_size != "full":
            size = trainer.batch_size * trainer.accumulate
            of_epoch = list(torch.split(order_of(rows, config.seed, epoch), size))
        for index, batch in enumerate(of_epoch):
            yield epoch, step, batch, index == len(of_epoch) - 1
            step += 1
            if step == STEPS:
                return


def trained(engine, config):
    """Take the steps; return the scores of each epoch, the last one's that is not whole too."""
    schedule = build_schedule(config.scheduler, config.optimizer.lr, 1, STEPS)
    scores, seen = [], 0
    for epoch, step, rows, last in batches(config, engine.data.rows):
        final = step == STEPS - 1
        engine.step(rows, [config.optimizer.lr * schedule(step, 0.0)], epoch, step, measure=final)
        seen += engine.data.rows if isinstance(rows, slice) else len(rows)
        if last or final:
            scores.append(collected(engine, seen))
            seen = 0
    return scores


def plainly_trained(config, dataset, activation, loss, kind, options):
    """Train a plain model as the tutorials do.

    Returns it, the loss of each epoch, the norm of the last gradient, and whether clipping was felt.
    """
    network, train, trainer = build_model(config, dataset), dataset.splits["train"], config.trainer
    widths = [train.inputs.shape[1], 6, 5, network.layers[-1].out_features]
    rate = config.model.dropout
    masks = [Dropout(rate, "cpu") for _ in range(2)] if rate else []  # mlpkit's own
    act = ACTIVATIONS[activation]
    plain = nn.Sequential(
        *(nn.Linear(*widths[0:2]), act(), *masks[:1]),
        *(nn.Linear(*widths[1:3]), act(), *masks[1:]),
        nn.Linear(*widths[2:4]),
    )
    dtype = next(network.parameters()).dtype
    plain.to(dtype).load_state_dict(network.layers.state_dict())
    inputs = network.scaling(train.inputs.to(dtype))
    targets = train.targets if train.targets.dtype == torch.long and widths[-1] > 1 else None
    if targets is None:
        targets = train.targets.to(dtype).reshape(len(inputs), -1)
    optimizer = kind(plain.parameters(), foreach=False, fused=False, **options)
    scheduler = None
    if config.scheduler.name == "step":
        scheduler = StepLR(optimizer, config.scheduler.step_size, config.scheduler.gamma)
    losses, seen, felt = [], [], False
    for epoch, step, rows, last in batches(config, len(inputs)):
        optimizer.zero_grad()
        seed_dropout([mask.random for mask in masks], config.seed, epoch, step)
        mean = loss(plain(inputs[rows]), targets[rows])
        mean.backward()
        seen.append((mean.item(), len(inputs[rows])))
        gradient = torch.cat([parameter.grad.flatten() for parameter in plain.parameters()])
        if trainer.clip_value is not None:
            felt |= gradient.abs().max().item() > trainer.clip_value
            nn.utils.clip_grad_value_(plain.parameters(), trainer.clip_value)
        if trainer.clip_norm is not None:
            felt |= gradient.norm().item() > trainer.clip_norm
            nn.utils.clip_grad_norm_(plain.parameters(), trainer.clip_norm)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        if last or step == STEPS - 1:
            losses.append(sum(value * rows for value, rows in seen) / sum(rows for _, rows in seen))
            seen = []
    return plain, losses, gradient.norm().item(), felt


def close(found, expected, precision):
    torch.testing.assert_close(found, expected, **BOUNDS[precision])


def test_each_kind_of_a_case_meets_all_of_another():
    kinds = (*KINDS, BOUNDS)
    for one, other in itertools.combinations(range(len(kinds)), 2):
        met = {(case[one], case[other]) for case in CASES}
        assert met == set(itertools.product(kinds[one], kinds[other]))


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("activation", "dataset", "optimizer", "option", "precision"), CASES)
def test_fifty_steps_of_both_engines_and_of_plain_torch(activation, dataset, optimizer, option, precision):
    config, data = configured(dataset, activation, optimizer, option, precision)
    by_autograd, by_hand = (engine_of(kind, configs=[config], datasets=[data]) for kind in KINDS_OF_ENGINES)
    first = model_of(by_hand)
    close(model_of(by_autograd), first, precision)
    scores, expected = trained(by_hand, config), trained(by_autograd, config)
    found, other = by_hand.state(0), by_autograd.state(0)
    assert max(float((value - first[name]).abs().max()) for name, value in found["model"].items()) > 0.002
    close(found, other, precision)
    close(scores, expected, precision)
    close(by_hand.clip.norms, by_autograd.clip.norms, precision)
    for split in data.splits:
        close(evaluated(by_hand, split), evaluated(by_autograd, split), precision)
    kind, options = OPTIMIZERS[optimizer]
    plain, losses, norm, felt = plainly_trained(config, data, activation, LOSSES[dataset], kind, options)
    close(dict(network_of(by_hand).layers.state_dict()), dict(plain.state_dict()), precision)
    close([epoch["loss"] for epoch in scores], losses, precision)
    close(by_hand.clip.norms.item(), norm, precision)
    assert felt == option.startswith("clip")


# ------------------------------------------------------------------------------------------- dropout


@pytest.mark.parametrize("accumulate", [1, 3])
def test_both_engines_draw_the_same_masks(accumulate):
    """A mask is all that makes these linear networks' units zero."""
    overrides = ("dataset=moons", "model.hidden=[40,30]", "model.activation=identity", "model.dropout=0.5")
    overrides = (*overrides, "trainer.batch_size=20", f"trainer.accumulate={accumulate}")
    by_autograd, by_hand = (engine_of(kind, *overrides) for kind in KINDS_OF_ENGINES)
    seen = []
    for layer in network_of(by_autograd).layers:
        if isinstance(layer, Dropout):
            layer.register_forward_hook(lambda module, units, dropped: seen.append(dropped[0] == 0))
    for engine in (by_autograd, by_hand):
        engine.step(torch.arange(20 * accumulate), [0.1], 3, 5, measure=False)
    assert isinstance(by_hand.filler, ManualGradients)
    last = [hidden.mask.mT == 0 for hidden in by_hand.filler.chunks[20].layers.hidden]
    assert all(torch.equal(mask[0], other) for mask, other in zip(last, seen[-2:], strict=True))
    assert [0.3 < mask.float().mean() < 0.7 for mask in last] == [True, True]


# --------------------------------------------------------------------------------- what a step does


class Operations(TorchDispatchMode):
    """Writes down the names of torch's operations, and of those whose result lies in memory of its own."""

    def __init__(self):
        super().__init__()
        self.names, self.fresh = [], []

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        result = operation(*arguments, **(options or {}))
        name = operation.name().removeprefix("aten::")
        self.names.append({"_local_scalar_dense": "item"}.get(name, name))  # its name without inference mode
        if memory_of(result) - memory_of((arguments, options)):
            self.fresh.append(self.names[-1])
        return result


def memory_of(values):
    tensors = (value for value in tree_leaves(values) if isinstance(value, torch.Tensor))
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


PIXELS = ("dataset=digits", "model.hidden=[8]", "trainer.batch_size=32")


def warm(*overrides, rows=32):
    """Return an engine that has taken three steps, and its next one."""
    engine = engine_of(ManualGradients, *PIXELS, *overrides)
    chosen = torch.arange(rows)
    for step in range(3):
        engine.step(chosen, [0.1], 0, step, measure=False)
    return engine, lambda: engine.step(chosen, [0.1], 0, 3, measure=False)


UP = ["addmm.out", "relu_", "addmm.out"]  # a bias is added to the product
AT_THE_TOP = ["softmax.int_out", "sub_.Tensor", "mul_.Tensor"]
DOWN = ["mm.out", "threshold_backward.grad_input"]
GRADIENTS = ["mm.out", "sum.IntList_out"] * 2
BACK = [*DOWN, *GRADIENTS]
REMEMBER = ["copy_"]  # the outputs, for the scores
DIFFERENTIATE = [*["index_select.out"] * 2, *UP, *AT_THE_TOP, *BACK, *REMEMBER]
ADAM = ["add_.Tensor", "_fused_adam_"]


@pytest.mark.parametrize(
    ("overrides", "update"), [(("optimizer=sgd",), ["_fused_sgd_"]), (("optimizer=adam",), ADAM)]
)
def test_the_operations_of_a_step(overrides, update):
    """There is none to spare: each of them is a tenth of a small model's step."""
    _, step = warm(*overrides)
    with Operations() as operations:
        step()
    assert operations.names == [*DIFFERENTIATE, *update]
    assert operations.fresh == []


def test_the_operations_of_a_full_batch():
    engine = engine_of(ManualGradients, "dataset=digits", "model.hidden=[8]")
    for step in range(2):
        engine.step(slice(None), [0.1], step, step, measure=False)
        engine.collect()
    with Operations() as operations:
        engine.step(slice(None), [0.1], 2, 2, measure=False)
    narrow = ["mm.out", "copy_", "sum.IntList_out"]  # of the layer with 8 inputs, as its transpose
    assert operations.names == [*UP, *AT_THE_TOP, *DOWN, *GRADIENTS[:2], *narrow, *ADAM]
    assert operations.fresh == []


# Torch's kernel of mish's derivative cannot write into a given tensor.
@pytest.mark.sampled(4)
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "mish"])
@pytest.mark.parametrize("dropout", [0, 0.3])
def test_no_activation_makes_a_tensor(activation, dropout):
    _, step = warm(f"model.activation={activation}", f"model.dropout={dropout}")
    with Operations() as operations:
        step()
    assert operations.fresh == []


@pytest.mark.parametrize(
    ("overrides", "largest"),
    [
        ((), 0),
        (("optimizer=sgd", "optimizer.momentum=0.9"), 0),
        (("trainer.clip_norm=1", "trainer.clip_value=1"), 8),
        (("model.dropout=0.3",), 8),
        (("trainer.accumulate=3",), 40),  # the sum of ten biases' gradients, before it is added
    ],
)
def test_a_step_takes_no_memory_but_for_single_numbers(overrides, largest):
    """Torch's profiler sees what the operations themselves take, in bytes."""
    _, step = warm(*overrides, rows=96 if "trainer.accumulate=3" in overrides else 32)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profile:
        step()
        torch.zeros(12345)
    taken = {event.cpu_memory_usage for event in profile.events() if event.cpu_memory_usage > 0}
    assert 4 * 12345 in taken  # it does see them
    assert max(taken - {4 * 12345}, default=0) <= largest


def test_batches_of_one_size_share_their_buffers():
    engine = engine_of(ManualGradients, *PIXELS)
    assert isinstance(engine.filler, ManualGradients)
    kept = set()
    for step, rows in enumerate(torch.arange(engine.data.rows).split(32)):
        engine.step(rows, [0.1], 0, step, measure=False)
        kept.add(engine.filler.chunks[32].layers.workspace.data_ptr())
    assert set(engine.filler.chunks) == {len(rows), 32} and len(rows) < 32
    assert len(kept) == 1


# ----------------------------------------------------------------------------------- what is not finite

EACH_KIND = pytest.mark.parametrize("kind", KINDS_OF_ENGINES)


def line_of(inputs, targets):
    return Split(torch.tensor(inputs).reshape(-1, 1), torch.tensor(targets).reshape(-1, 1))


def of_kind(kind, train, *overrides):
    engine = engine_of(kind, "dataset=line", "dataset.standardize=false", *overrides, train=train)
    for index, layer in enumerate(network_of(engine).layers):
        if isinstance(layer, nn.Linear):
            with torch.no_grad():
                layer.weight.copy_(torch.zeros_like(layer.weight))
                layer.bias.copy_(torch.full_like(layer.bias, -1.0 if index == 0 else 0.0))
    return engine


def take_a_good_step(engine, *rows):
    """Take one on rows without trouble, so small that it spares the others from more."""
    engine.step(torch.tensor(rows), [1e-30], 3, 6, measure=False)
    engine.collect()


def refuses(engine, rows, what):
    """Assert that a step is refused and changes nothing."""
    before = engine.state(0)
    assert engine.step(rows, [0.1], 3, 7, measure=True) == {0: f"{what} is not finite"}
    now = engine.state(0)
    for part in ("model", "optimizer"):
        close_to_the_bit(now[part], before[part])


def close_to_the_bit(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


NUMBERS = [1.0, 2.0, 3.0, 4.0]
TROUBLES = {
    "the gradient of layers.0.weight": ([1e30, 2.0, 3.0, 4.0], [1e10, 1.0, 2.0, 3.0]),  # of order 1e40
    "the loss": (NUMBERS, [1e20, 1.0, 2.0, 3.0]),  # of order 1e40, while the gradient is of order 1e20
}
OPTIMIZING = [("optimizer=sgd", "optimizer.momentum=0.9"), ("optimizer=adam",), ("optimizer=adamw",)]


@EACH_KIND
@pytest.mark.parametrize("what", TROUBLES)
@pytest.mark.parametrize("optimizer", OPTIMIZING, ids=lambda optimizer: optimizer[0])
def test_a_step_that_overflows_changes_nothing(kind, what, optimizer):
    engine = of_kind(kind, line_of(*TROUBLES[what]), "model=linear", "trainer.batch_size=4", *optimizer)
    take_a_good_step(engine, 1, 2, 3, 3)
    refuses(engine, torch.tensor([0, 1, 2, 3]), what)


@EACH_KIND
@pytest.mark.parametrize("what", TROUBLES)
def test_a_full_batch_that_overflows_changes_nothing(kind, what):
    engine = of_kind(kind, line_of(*TROUBLES[what]), "model=linear", "optimizer=sgd")
    refuses(engine, slice(None), what)


@EACH_KIND
@pytest.mark.parametrize("what", TROUBLES)
def test_the_second_of_three_batches_stops_the_step(kind, what):
    chosen = ("model=linear", "trainer.batch_size=1", "trainer.accumulate=3")
    engine = of_kind(kind, line_of(*TROUBLES[what]), *chosen)
    take_a_good_step(engine, 1, 2, 3)
    refuses(engine, torch.tensor([1, 0, 2]), what)


@EACH_KIND
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_an_input_that_is_not_finite(kind, value):
    """With weights of zero even an infinite input makes the sum 0 · ∞, which is no number."""
    engine = of_kind(kind, line_of([value, *NUMBERS[1:]], NUMBERS), "model=linear", "trainer.batch_size=4")
    refuses(engine, torch.arange(4), "the loss")


@EACH_KIND
def test_an_infinite_input_that_the_first_layer_hides(kind):
    """It makes all units zero, so that outputs, loss and deltas are finite; its gradient is 0 · ∞."""
    engine = of_kind(
        kind, line_of([float("inf"), *NUMBERS[1:]], NUMBERS), "model.hidden=[3]", "trainer.batch_size=4"
    )
    with torch.no_grad():
        network_of(engine).layers[0].weight.copy_(torch.full_like(network_of(engine).layers[0].weight, -1.0))
    refuses(engine, torch.arange(4), "the gradient of layers.0.weight")


@EACH_KIND
def test_a_gradient_that_overflows_in_the_middle_is_named(kind):
    """δ of the first layer is 1e10 · 1e30; above it everything is finite."""
    engine = of_kind(kind, line_of(NUMBERS, [1e10] * 4), "model.hidden=[3]", "model.activation=tanh")
    with torch.no_grad():
        network_of(engine).layers[0].bias.copy_(torch.zeros(3))
        network_of(engine).layers[2].weight.copy_(torch.full((1, 3), 1e30))
    refuses(engine, slice(None), "the gradient of layers.0.weight")


MANY_ROWS = {
    "the loss": ([1.0] * 2000, [1e20, *[1.0] * 1999]),
    "the gradient of layers.0.weight": ([1e30] * 2000, [1e15, *[1.0] * 1999]),
}


@EACH_KIND
@pytest.mark.parametrize("what", MANY_ROWS)
def test_many_rows_of_a_narrow_network(kind, what):
    """Its gradients are fewer numbers than its units, and are looked at themselves."""
    engine = of_kind(kind, line_of(*MANY_ROWS[what]), "model.hidden=[3]", "model.activation=identity")
    with torch.no_grad():
        network_of(engine).layers[0].bias.copy_(torch.zeros(3))
        network_of(engine).layers[2].weight.copy_(torch.full((1, 3), 1e-7 if what == "the loss" else 1e10))
    if kind is ManualGradients:
        refuses(engine, slice(None), what)
        assert [len(numbers) for numbers in engine.filler.last.checked] == [10, 4000]
    else:
        refuses(engine, slice(None), what)


@EACH_KIND
@pytest.mark.parametrize("batch_size", ["full", 4])
def test_a_large_gradient_is_no_trouble(kind, batch_size):
    """Its square is beyond a float32, and its entries are not."""
    chosen = ("model=linear", "optimizer=sgd", f"trainer.batch_size={batch_size}")
    engine = of_kind(kind, line_of([1e20] * 4, [1e5] * 4), *chosen)
    rows = slice(None) if batch_size == "full" else torch.arange(4)
    engine.step(rows, [1e-3], 0, 0, measure=False)
    state = model_of(engine)
    gradient = -2 * (1e5 + 1) * 1e20
    assert state["layers.0.weight"].item() == pytest.approx(-1e-3 * gradient, rel=1e-6)


# ------------------------------------------------------------------------------------------ checkpoints

RUN = (
    "dataset=moons", "dataset.n=100", "model.hidden=[4,3]", "model.dropout=0.1", "trainer.batch_size=16",
    "run.dir=outputs/mine", "run.plots=false", "run.tensorboard=false", "run.progress=none",
    "scheduler=cosine", "scheduler.t_max=16", "trainer.checkpoint_every=3steps", "trainer.keep_last=9",
)  # fmt: skip
MINE = RunFolder(Path("outputs/mine"))
OTHER = {"stacked": "autograd", "autograd": "stacked"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in an empty folder, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def last():
    """Return all tensors of the run's newest checkpoint."""
    return checkpoint.load(MINE.last, checkpoint.KINDS).state.tensors()


def uninterrupted(engine, *overrides):
    assert command(["train", *RUN, f"trainer.engine={engine}", *overrides]) == 0
    return last()


def engine_of_the_run():
    return json.loads(MINE.environment.read_text())["engine"]


@pytest.mark.long
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("engine", OTHER)
def test_a_run_of_one_engine_goes_on_under_the_other(engine, optimizer, here):
    """After two whole epochs, with the momentum or the averages of the first engine."""
    chosen = [f"optimizer={optimizer}", *(("optimizer.momentum=0.9",) if optimizer == "sgd" else ())]
    whole = uninterrupted(engine, *chosen, "trainer.epochs=4")
    shutil.rmtree("outputs")
    begun = uninterrupted(engine, *chosen, "trainer.epochs=2")
    assert engine_of_the_run() == engine
    other = f"trainer.engine={OTHER[engine]}"
    assert command(["resume", "outputs/mine", "trainer.epochs=4", other]) == 0
    assert engine_of_the_run() == OTHER[engine]
    close(last(), whole, "float32")
    assert max(float((value - begun[name]).abs().max()) for name, value in last().items()) > 0.01


@pytest.mark.long
@pytest.mark.parametrize("step", [3, 6, 9])
@pytest.mark.parametrize("engine", OTHER)
def test_an_epoch_of_one_engine_is_ended_by_the_other(engine, step, here):
    """In the middle of an epoch, whose outputs so far are in the checkpoint."""
    whole = uninterrupted(engine, "trainer.epochs=4")
    lines = MINE.metrics.read_text()
    path = MINE.at_step(step)
    halfway = checkpoint.load(path, checkpoint.KINDS).state
    assert (halfway.progress.batch, len(halfway.epoch["rows"])) == (step % 4, 16 * (step % 4))
    assert command(["resume", str(path), f"trainer.engine={OTHER[engine]}"]) == 0
    close(last(), whole, "float32")
    for found, expected in zip(MINE.metrics.read_text().splitlines(), lines.splitlines(), strict=True):
        now, before = json.loads(found), json.loads(expected)
        assert now.pop("split") == before.pop("split")
        assert now == pytest.approx({**before, "seconds": now["seconds"]}, rel=1e-4)


@pytest.mark.parametrize("engine", OTHER)
def test_under_the_same_engine_every_bit_is_the_same(engine, here):
    whole = uninterrupted(engine, "trainer.epochs=4")
    assert command(["resume", str(MINE.at_step(6))]) == 0
    assert engine_of_the_run() == engine
    close_to_the_bit(last(), whole)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("optimizer", [*OPTIMIZING, ("optimizer=sgd",)])
def test_both_engines_save_the_same_names(optimizer, here):
    found = []
    for engine in OTHER:
        uninterrupted(engine, *optimizer, "trainer.epochs=1")
        found.append(
            {name: (value.shape, value.dtype) for name, value in last().items()}
            | {
                name: (value.shape, value.dtype)
                for name, value in checkpoint.load(MINE.at_step(3), checkpoint.KINDS).state.tensors().items()
            }
        )
        shutil.rmtree("outputs")
    assert found[0] == found[1]
    assert any(name.startswith("optimizer/") for name in found[0]) == (optimizer != ("optimizer=sgd",))
    assert {"epoch/rows", "epoch/outputs", "epoch/losses"} <= found[0].keys()


@EACH_KIND
def test_runs_that_go_on_without_others_begin_their_optimizer_once(kind):
    """SGD's first gradient begins the momentum without dampening, and no later one does."""
    config, data = configured("moons", "tanh", "dampening", "nothing", "float64")
    alone = engine_of(kind, configs=[config], datasets=[data])
    several = engine_of(kind, configs=[config] * 3, datasets=[data] * 3).select_runs([0, 2])
    assert several.state(1)["optimizer"] == {}
    for step in range(4):
        for each in (alone, several):
            each.step(slice(None), [0.1], step, step, measure=False)
            each.collect()
        if step == 1:
            several = several.select_runs([1])
    for part in ("model", "optimizer"):
        close(several.state(0)[part], alone.state(0)[part], "float64")


@EACH_KIND
@pytest.mark.parametrize("option", ["nothing", "accumulate"])
def test_a_state_is_a_copy(kind, option):
    """What is read stays as it is, and so does what was loaded; the same step then has the same end."""
    config, data = configured("moons", "tanh", "adam", option, "float32")
    engine, again = (engine_of(kind, configs=[config], datasets=[data]) for _ in range(2))
    first, *others = engine.rows_of_steps(0, 0)
    second = others[0] if others else first
    for each in (engine, again):
        each.step(first, [0.1], 0, 0, measure=True)
    state = engine.state(0)
    kept, ends = copy.deepcopy(state), []
    for _ in range(2):
        engine.step(second, [0.1], 0, 1, measure=True)
        close_to_the_bit(state, kept)
        ends.append(engine.state(0))
        engine.load_state(0, state)
        engine.resume_epoch(0, 1, [state["epoch"]["outputs"]])
        close_to_the_bit(engine.state(0), state)
    close_to_the_bit(*ends)
    assert engine.collect() == again.collect()


# -------------------------------------------------------------------------------- which engine it is

HIDDEN = ("dataset=moons", "model.hidden=[3]")
BCE = BinaryCrossEntropy(name="binary_cross_entropy")
CHOICES = [
    ((), "auto", None, ManualGradients, "linear layers, differentiated by hand"),
    ((), "auto", "stacked", ManualGradients, "linear layers, differentiated by hand"),
    ((), "auto", "autograd", AutogradGradients, "as before"),
    ((), "stacked", "autograd", ManualGradients, "as asked"),
    ((), "autograd", "stacked", AutogradGradients, "as asked"),
    (("model.dropout=0.1",), "auto", None, ManualGradients, "linear layers, differentiated by hand"),
    (("model.norm=batch",), "auto", None, ManualGradients, "linear layers, differentiated by hand"),
    (("model.norm=batch",), "auto", "autograd", AutogradGradients, "as before"),
    (("model.norm=layer",), "auto", None, AutogradGradients, "for the LayerNorm layers"),
    (("model.norm=layer",), "auto", "autograd", AutogradGradients, "for the LayerNorm layers"),
    (("model.norm=layer",), "autograd", None, AutogradGradients, "as asked"),
]


@pytest.mark.parametrize(("overrides", "wanted", "before", "kind", "because"), CHOICES)
def test_which_engine_and_why(overrides, wanted, before, kind, because):
    config = config_of(*HIDDEN, *overrides)
    network, loss = build_model(config, load_dataset(config.dataset)), BCE
    assert choose_engine(wanted, network, loss, "cpu", before) == (kind, Engine, because)
    assert choose_engine(wanted, network, loss, "cuda:0", before) == (kind, CudaEngine, because)


def test_the_slope_of_a_prelu_at_zero_is_torchs():
    """Where z is 0 the derivative is a, in both."""
    config, data = configured("moons", "prelu", "sgd", "nothing", "float64")
    found = []
    for kind in KINDS_OF_ENGINES:
        engine = engine_of(kind, configs=[config], datasets=[data])
        with torch.no_grad():
            for layer in network_of(engine).layers[:2]:
                for parameter in layer.parameters():
                    parameter.mul_(0 if parameter.numel() > 1 else -2)
        engine.step(slice(None), [0.1], 0, 0, measure=True)
        found.append(model_of(engine))
    close(found[0], found[1], "float64")
    assert found[0]["layers.1.weight"].item() == -0.5  # no unit was below 0
    assert found[0]["layers.0.bias"].abs().min() > 0


def test_layer_norm_and_the_stacked_engine_are_refused(refused):
    chosen = ("dataset=moons", "model=mlp", "model.norm=layer", "trainer.engine=stacked")
    assert refused("train", *chosen, code=ConfigError.exit_code) == (
        "trainer.engine=stacked: the model has LayerNorm layers, whose gradients are not derived by hand; "
        "set trainer.engine=auto"
    )


def test_a_module_of_ones_own_goes_to_autograd():
    network = nn.Module()
    network.layers = nn.Sequential(nn.Linear(2, 3), nn.Softsign(), nn.Linear(3, 1))
    found = choose_engine("auto", network, BCE, "cpu")
    assert found == (AutogradGradients, Engine, "for the Softsign layers")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ((), "engine: stacked (linear layers, differentiated by hand)"),
        (("trainer.engine=autograd",), "engine: autograd (as asked)"),
        (("model.norm=layer",), "engine: autograd (for the LayerNorm layers)"),
    ],
)
def test_the_log_says_which_engine_and_why(overrides, said, here):
    assert command(["train", *RUN, "trainer.epochs=1", *overrides]) == 0
    assert any(line.endswith(said) for line in MINE.log.read_text().splitlines())
