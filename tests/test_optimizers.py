"""Training gives the weights of a plain torch loop, written here, to the last digits of float64."""

import json
from typing import Any

import pytest
import torch
from cases import rest_long
from engines import KINDS, engine_of, network_of, trainer_of
from torch import nn
from torch.optim import SGD, Adam, AdamW, NAdam, Optimizer, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR

from mlpkit.config.optimizer import Buffers
from mlpkit.config.registry import choices
from mlpkit.data.randomness import generator
from mlpkit.engines.updates import MOST_TENSORS, pieces


class Lion(Optimizer):
    """The program of the paper (Chen et al. 2023), line by line; torch has no class of it."""

    def __init__(self, parameters, lr, betas=(0.9, 0.99), weight_decay=0.0, foreach=False):
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):  # type: ignore[override]
        (group,) = self.param_groups
        lr, (beta1, beta2) = group["lr"], group["betas"]
        for parameter in group["params"]:
            m = self.state[parameter].setdefault("m", torch.zeros_like(parameter))
            update = torch.sign(beta1 * m + (1 - beta1) * parameter.grad)
            m.copy_(beta2 * m + (1 - beta2) * parameter.grad)
            parameter.sub_(lr * (update + group["weight_decay"] * parameter))


class Muon(AdamW):
    """Muon's step for all matrices but the last, written out; AdamW's for the rest."""

    def __init__(self, parameters, lr, foreach=False, adam_lr=None, momentum=0.95, nesterov=True, **options):
        every = list(parameters)
        *self.matrices, last = (each for each in every if each.dim() == 2)
        rest = [each for each in every if each.dim() == 1 or each is last]
        self.options, self.momentum, self.nesterov = options, momentum, nesterov
        self.original, self.lr = options.pop("adjust_lr_fn", "") == "original", lr
        super().__init__(rest, lr=adam_lr or lr, foreach=foreach, **options)
        self.averages = [torch.zeros_like(each) for each in self.matrices]

    @torch.no_grad()
    def step(self, closure=None):  # type: ignore[override]
        super().step()
        for values, average in zip(self.matrices, self.averages, strict=True):
            average.copy_(self.momentum * average + (1 - self.momentum) * values.grad)
            nesterov = (1 - self.momentum) * values.grad + self.momentum * average
            x = nesterov if self.nesterov else average.clone()
            x /= x.norm()
            for _ in range(5):
                gram = x @ x.T
                x = 3.4445 * x - 4.7750 * gram @ x + 2.0315 * gram @ gram @ x
            rows, columns = values.shape
            factor = max(1, rows / columns) ** 0.5 if self.original else 0.2 * max(rows, columns) ** 0.5
            values.mul_(1 - self.lr * self.options.get("weight_decay", 0.01)).sub_(self.lr * factor * x)

    def zero_grad(self, set_to_none=True):
        for each in self.matrices:
            each.grad = None
        super().zero_grad(set_to_none)


OPTIMIZERS = [
    (SGD, {"lr": 0.1}),
    (SGD, {"lr": 0.05, "momentum": 0.9}),
    (SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    (SGD, {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1}),
    (Adam, {"lr": 0.01}),
    (Adam, {"lr": 0.02, "betas": [0.5, 0.7], "eps": 0.01, "weight_decay": 0.1}),
    (AdamW, {"lr": 0.01}),  # weight decay 0.01, also where nobody asks for it
    (AdamW, {"lr": 0.02, "betas": [0.8, 0.99], "eps": 0.001, "weight_decay": 0.3}),
    (RMSprop, {"lr": 0.01}),
    (RMSprop, {"lr": 0.01, "alpha": 0.9, "eps": 0.001, "weight_decay": 0.1}),
    (RMSprop, {"lr": 0.01, "eps": 0.001, "momentum": 0.5, "centered": True}),
    (NAdam, {"lr": 0.01}),
    (NAdam, {"lr": 0.02, "betas": [0.5, 0.7], "eps": 0.01, "weight_decay": 0.1, "momentum_decay": 0.1}),
    (NAdam, {"lr": 0.02, "weight_decay": 0.3, "decoupled_weight_decay": True}),
    (Lion, {"lr": 0.001}),
    (Lion, {"lr": 0.002, "betas": [0.8, 0.95], "weight_decay": 0.3}),
    (Muon, {"lr": 0.01, "adam_lr": 0.02}),
    (Muon, {"lr": 0.02, "momentum": 0.5, "nesterov": False, "adjust_lr_fn": "original", "weight_decay": 0.3}),
]
CLIPPING = [{}, {"clip_norm": 0.1}, {"clip_value": 0.02}, {"clip_value": 0.05, "clip_norm": 0.1}]
CLIPPED = rest_long(
    ((*optimizer, clipping) for optimizer in OPTIMIZERS for clipping in CLIPPING),
    lambda case: case[0] is AdamW or len(case[2]) == 2,
)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def engine_kind(request):
    return request.param


def shown(value):
    """Return what stands in the test's name."""
    return value.__name__ if isinstance(value, type) else json.dumps(value)


def overrides_of(section, options):
    return tuple(f"{section}.{key}={json.dumps(value)}" for key, value in options.items())


def build(engine_kind, *overrides):
    """Return the splits, an engine and a plain torch model with the same first weights."""
    engine = engine_of(engine_kind, "model.hidden=[6,5]", "model.activation=tanh", "seed=3", *overrides)
    dataset, network = engine.experiments[0].dataset, network_of(engine)
    features, width = len(dataset.input_schema.features), dataset.input_schema.width
    plain = nn.Sequential(
        nn.Linear(features, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, width)
    ).to(next(network.parameters()).dtype)
    plain.load_state_dict(network.layers.state_dict())
    return dataset.splits, engine, plain


def take_step(plain, optimizer, loss, clip_value=None, clip_norm=None):
    """Take the tutorial's step; return the sizes that clipping limits, of the gradient before it."""
    optimizer.zero_grad()
    loss.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in plain.parameters()])
    if clip_value is not None:
        nn.utils.clip_grad_value_(plain.parameters(), clip_value)
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(plain.parameters(), clip_norm)
    optimizer.step()
    return {"clip_value": gradient.abs().max(), "clip_norm": gradient.norm()}


def fit(engine):
    trainer, (recorder,) = trainer_of(engine)
    trainer.fit()
    return recorder.reports


def assert_same_weights(engine, plain, **tolerance):
    torch.testing.assert_close(dict(network_of(engine).layers.state_dict()), plain.state_dict(), **tolerance)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("kind", "options", "clipping"), CLIPPED, ids=shown)
def test_full_batches(engine_kind, kind, options, clipping):
    name = f"optimizer={kind.__name__.lower()}"
    optimizing, clip = overrides_of("optimizer", options), overrides_of("trainer", clipping)
    splits, engine, plain = build(
        engine_kind, "dataset=sum", "dataset.n=50", "trainer.precision=float64", name, *optimizing, *clip
    )
    inputs, targets = splits["train"].inputs.double(), splits["train"].targets.double()
    optimizer = kind(plain.parameters(), foreach=False, **options)
    sizes = []
    for step in range(25):
        engine.step(slice(None), [options["lr"]], step, step, measure=True)
        engine.collect()
        loss = nn.functional.mse_loss(plain(inputs), targets)
        sizes.append(take_step(plain, optimizer, loss, **clipping))
    assert_same_weights(engine, plain, rtol=1e-9, atol=1e-12)
    for key, limit in clipping.items():
        assert limit < sizes[0][key]  # it was felt


LOSSES = {"sum": nn.MSELoss(), "moons": nn.BCEWithLogitsLoss(), "digits": nn.CrossEntropyLoss()}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("dataset", LOSSES)
@pytest.mark.parametrize(("batch_size", "accumulate"), [(32, 1), (8, 4), (150, 1), (10**6, 1)])
def test_shuffled_batches_on_a_schedule(engine_kind, dataset, batch_size, accumulate):
    """Ragged last batches and groups of batches are means over their own rows; the order is a permutation."""
    splits, engine, plain = build(
        engine_kind,
        f"dataset={dataset}",
        *(("dataset.test_fraction=0.85",) if dataset == "digits" else ("dataset.n=300",)),
        "dataset.standardize=false",
        "optimizer=sgd",
        "optimizer.lr=0.2",
        "optimizer.momentum=0.5",
        "scheduler=cosine",
        "trainer.precision=float64",
        "trainer.epochs=3",
        f"trainer.batch_size={batch_size}",
        f"trainer.accumulate={accumulate}",
    )
    inputs, targets = splits["train"].inputs.double(), splits["train"].targets
    if dataset != "digits":
        targets = targets.double().reshape(-1, 1)
    size, rows = batch_size * accumulate, len(inputs)
    assert rows % size > 0  # the last step is ragged
    steps = 3 * (rows // size + 1)
    optimizer = SGD(plain.parameters(), lr=0.2, momentum=0.5)
    scheduler = CosineAnnealingLR(optimizer, steps)
    rates, sizes = [], []
    for epoch in range(3):
        order = torch.randperm(rows, generator=generator(3, "order", epoch))
        for start in range(0, rows, size):
            batch = order[start : start + size]
            rates.append(optimizer.param_groups[0]["lr"])
            sizes.append(take_step(plain, optimizer, LOSSES[dataset](plain(inputs[batch]), targets[batch])))
            scheduler.step()
    reports = fit(engine)
    assert_same_weights(engine, plain, rtol=1e-9, atol=1e-12)
    assert [report.step for report in reports] == [steps // 3, 2 * steps // 3, steps]
    for report in reports:  # what they say is of the epoch's last step
        assert report.lr == pytest.approx(rates[report.step - 1])
        assert report.grad_norm == pytest.approx(sizes[report.step - 1]["clip_norm"].item())


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS, ids=shown)
def test_float32(engine_kind, kind, options):
    name = f"optimizer={kind.__name__.lower()}"
    splits, engine, plain = build(
        engine_kind, "dataset=moons", "trainer.epochs=20", name, *overrides_of("optimizer", options)
    )
    inputs, targets = splits["train"].inputs, splits["train"].targets.float().reshape(-1, 1)
    optimizer = kind(plain.parameters(), foreach=False, **options)
    for _ in range(20):
        take_step(plain, optimizer, nn.functional.binary_cross_entropy_with_logits(plain(inputs), targets))
    fit(engine)
    assert_same_weights(engine, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 5), (4, 9)])
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_steps_of_matrices_are_those_of_torchs_muon(adjust, shape):
    """Torch's class rounds to bfloat16: the steps are equal to two digits."""
    options = {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1, "adjust_lr_fn": adjust}
    values, gradients = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).unbind()
    parameter = nn.Parameter(values.clone())
    parameter.grad = gradients.clone()
    torch.optim.Muon([parameter], **options).step()
    config: Any = choices("optimizer")["muon"].model_validate({"name": "muon", **options})
    tensors = [[own[None].clone(), torch.zeros(1, 1, 2)] for own in (values, gradients)]
    averages = {name: [torch.zeros_like(own) for own in tensors[0]] for name in ("exp_avg", "exp_avg_sq")}
    names = "layers.0.weight", "layers.1.weight"
    buffers = Buffers(tensors[0], tensors[1], averages, {"step": torch.zeros(())}, names=names)
    config.fused(buffers)(0.01)
    decayed = values * (1 - 0.01 * 0.1)
    expected, found = parameter.detach() - decayed, tensors[0][0][0] - decayed
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02 * float(expected.abs().max()))


def test_a_fused_update_of_pieces_is_that_of_the_whole():
    values, slopes, *averages = (torch.randn(*shape) for shape in 4 * [(3, 70_000)])
    averages = [average.abs() for average in averages]
    whole, cut = ([of.clone() for of in (values, slopes, *averages)] for _ in range(2))
    lists = [pieces([of]) for of in cut]
    assert len(lists[0]) <= MOST_TENSORS
    kernel: Any = torch._fused_adam_
    options = {"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.1, "eps": 1e-8}
    for buffers in (lists, [[of] for of in whole]):
        steps = [torch.tensor(3.0)] * len(buffers[0])
        kernel(*buffers, [], steps, lr=0.1, amsgrad=False, maximize=False, **options)
    assert all(map(torch.equal, whole, cut))
    assert not torch.equal(whole[0], values)
