"""The engine's scores and the trainer's decisions: best weights, early stopping, plateau, divergence."""

import math

import pytest
import running
import torch
from mlpkit.engines.data import EVALUATION_ROWS
from mlpkit.engines.stacked import StackedEngine
from mlpkit.trainer import Trainer
from sklearn import metrics as sk
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mlpkit.data import load_dataset
from mlpkit.data.augment import augment, augmentation_of
from mlpkit.data.dataset import Split
from mlpkit.engines.autograd import AutogradEngine
from mlpkit.errors import NonFiniteError
from mlpkit.models import build_model
from mlpkit.randomness import generator
from mlpkit.schema.dataset import Augment
from mlpkit.tasks import TASKS


@pytest.fixture(params=[AutogradEngine, StackedEngine], ids=lambda engine: engine.name)
def engine_kind(request):
    return request.param


def build(engine_kind, *overrides, **more_splits):
    """Return the config, the splits and an engine."""
    config = running.config(*overrides)
    dataset = load_dataset(config.dataset)
    splits = {**dataset.splits, **more_splits}
    network, task = build_model(config, dataset), TASKS[dataset.signature.task]
    options = getattr(config.dataset, "augment", Augment())
    augmentation = augmentation_of(options, dataset.signature.input_shape)
    return config, splits, engine_kind(network, task, splits, config, "cpu", augmentation)


def trainer_of(engine_kind, *overrides):
    """Return a trainer, the reports that it will write and the epochs at which it will save."""
    config, splits, engine = build(engine_kind, *overrides)
    reports, saved = [], []
    rows = len(splits["train"])
    trainer = Trainer(
        config, engine, engine.task, rows, "val", reports.append, lambda t: saved.append(t.progress.epoch)
    )
    return trainer, reports, saved


def many_rows(features, classes):
    """Return a split of two whole evaluation chunks and a ragged third."""
    rows, random = 2 * EVALUATION_ROWS + 37, torch.Generator().manual_seed(1)
    inputs = torch.randn(rows, features, generator=random)
    if classes:
        return Split(inputs, torch.randint(classes, (rows,), generator=random))
    return Split(inputs, inputs.sum(1, keepdim=True) + torch.randn(rows, 1, generator=random))


@pytest.mark.parametrize(
    ("dataset", "features", "classes"), [("sum", 2, 0), ("moons", 2, 2), ("digits", 64, 10)]
)
def test_evaluate_equals_sklearn_on_all_rows_at_once(engine_kind, dataset, features, classes):
    split = many_rows(features, classes)
    _, _, engine = build(engine_kind, f"dataset={dataset}", "model.hidden=[8]", big=split)
    with torch.no_grad():
        outputs = engine.network(split.inputs)
    targets = split.targets.double().numpy()
    if classes:
        probabilities = engine.task.probabilities(outputs.double())
        expected = {
            "loss": sk.log_loss(targets, probabilities),
            "accuracy": sk.accuracy_score(targets, engine.task.decode(outputs)),
        }
    else:
        values = outputs.double().numpy()
        expected = {
            "loss": sk.mean_squared_error(targets, values),
            "r2": sk.r2_score(targets, values),
            "mae": sk.mean_absolute_error(targets, values),
            "rmse": sk.root_mean_squared_error(targets, values),
        }
    assert engine.evaluate("big") == pytest.approx(expected, rel=1e-5)


STEP = {"rate": 0.1, "epoch": 0, "step": 0, "measure": True}


@pytest.mark.parametrize(
    ("engine_kind", "layers"),
    [
        (StackedEngine, "model.dropout=0.5"),
        (AutogradEngine, "model.dropout=0.5"),
        (AutogradEngine, "model.norm=batch"),
        (AutogradEngine, "model.norm=layer"),
    ],
)
def test_evaluation_is_without_effect_and_repeats(engine_kind, layers):
    overrides = ("dataset=moons", "model.hidden=[8]", "trainer.batch_size=25", layers)
    (_, _, engine), (_, _, untouched) = build(engine_kind, *overrides), build(engine_kind, *overrides)
    for step in range(3):
        for each in (engine, untouched):
            each.step(torch.arange(50), 0.1, 0, step, measure=False)
        before = engine.model_state()
        assert engine.evaluate("val") == engine.evaluate("val")
        torch.testing.assert_close(engine.model_state(), before, rtol=0, atol=0)
    torch.testing.assert_close(engine.model_state(), untouched.model_state(), rtol=0, atol=0)
    assert engine.collect() == untouched.collect()


def test_collect_gives_the_mean_over_rows_before_each_update(engine_kind):
    _, splits, engine = build(engine_kind, "dataset=moons", "optimizer=sgd", "trainer.batch_size=32")
    train, losses, right = splits["train"], [], []
    for step, rows in enumerate(torch.arange(300).split(70)):  # 70 rows: batches of 32, 32 and 6
        with torch.no_grad():
            outputs, targets = engine.network(train.inputs[rows]), train.targets[rows]
            losses.append(
                nn.functional.binary_cross_entropy_with_logits(
                    outputs[:, 0], targets.float(), reduction="none"
                )
            )
            right.append((outputs[:, 0] > 0) == targets)
        engine.step(rows, 0.5, 0, step, measure=False)
    expected = {
        "loss": torch.cat(losses).mean().item(),
        "accuracy": torch.cat(right).float().mean().item(),
    }
    assert engine.collect() == pytest.approx(expected, rel=1e-5)


def test_scores_of_a_full_batch_are_those_before_its_update(engine_kind):
    _, _, engine = build(engine_kind, "dataset=line", "model=linear", "dataset.standardize=true")
    before = engine.evaluate("train")
    engine.step(slice(None), **STEP)
    assert engine.collect() == pytest.approx(before)
    assert engine.evaluate("train") != before


IMAGES = (
    "dataset=digits",
    "model.hidden=[16]",
    "trainer.batch_size=50",
    "optimizer=sgd",
    "dataset.test_fraction=0.8",
)
ROWS = torch.arange(100)


@pytest.mark.parametrize("kind", ["dropout", "augmentation"])
def test_what_a_step_draws_is_a_function_of_epoch_and_step(engine_kind, kind):
    options = ("model.dropout=0.5",) if kind == "dropout" else ("dataset.augment.rotation=20",)
    _, _, engine = build(engine_kind, *IMAGES, *options)
    first = engine.model_state()

    def weights_after(epoch, step):
        engine.load_model_state(first)
        engine.step(ROWS, 0.1, epoch, step, measure=False)
        return tuple(engine.model_state()["layers.0.weight"].flatten().tolist())

    times = [(0, 0), (0, 1), (1, 0), (1, 1)]
    weights = [weights_after(*time) for time in times]
    assert len(set(weights)) == 4
    assert weights[::-1] == [weights_after(*time) for time in times[::-1]]


def test_raw_images_are_augmented_and_then_scaled(engine_kind):
    """A step on augmented images equals one, without augmentation, on the same images made before it."""
    config, splits, engine = build(
        engine_kind, *IMAGES, "dataset.augment.rotation=20", "dataset.augment.translation=1"
    )
    images, random = splits["train"].inputs[ROWS], generator(0, "augment", epoch=2, step=9)
    parts = [augment(part, (8, 8), config.dataset.augment, random) for part in images.split(50)]
    _, _, plain = build(engine_kind, *IMAGES, train=Split(torch.cat(parts), splits["train"].targets[ROWS]))
    for each in (engine, plain):
        each.step(ROWS, 0.1, 2, 9, measure=False)
    torch.testing.assert_close(engine.model_state(), plain.model_state())
    assert engine.collect() == pytest.approx(plain.collect())
    whole = Split(splits["train"].inputs, splits["train"].targets)
    _, _, unchanged = build(engine_kind, *IMAGES, train=whole)
    unchanged.load_model_state(engine.model_state())
    assert engine.evaluate("train") == unchanged.evaluate("train")  # on the images as they are


@pytest.mark.parametrize("clipping", [(), ("trainer.clip_norm=1e-3",), ("trainer.clip_value=1e-3",)])
def test_gradient_norm_is_that_before_clipping(engine_kind, clipping):
    _, splits, engine = build(engine_kind, "dataset=sum", "dataset.low=5", "dataset.high=9", *clipping)
    _, _, other = build(engine_kind, "dataset=sum", "dataset.low=5", "dataset.high=9")
    train = splits["train"]
    nn.functional.mse_loss(other.network(train.inputs), train.targets).backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in other.network.parameters()])
    assert engine.gradient_norm() == 0
    engine.step(slice(None), **STEP)
    assert engine.gradient_norm() == pytest.approx(gradient.norm().item(), rel=1e-5)


def test_states_are_copies_and_can_be_taken_back(engine_kind):
    _, _, engine = build(engine_kind, "dataset=moons", "optimizer=adam")
    first = engine.model_state()
    kept = {name: value.clone() for name, value in first.items()}
    scores = engine.evaluate("val")
    engine.step(slice(None), **STEP)
    assert engine.evaluate("val") != scores
    torch.testing.assert_close(first, kept, rtol=0, atol=0)
    engine.load_model_state(first)
    assert engine.evaluate("val") == scores


@pytest.mark.parametrize(
    ("optimizer", "parts"),
    [
        (("optimizer=sgd",), set()),
        (("optimizer=sgd", "optimizer.momentum=0.9"), {"momentum_buffer"}),
        (("optimizer=adam",), {"exp_avg", "exp_avg_sq", "step"}),
        (("optimizer=adamw",), {"exp_avg", "exp_avg_sq", "step"}),
    ],
)
def test_names_of_the_optimizer_state(engine_kind, optimizer, parts):
    _, _, engine = build(engine_kind, "dataset=moons", "model.hidden=[3]", *optimizer)
    engine.step(slice(None), **STEP)
    parameters = dict(engine.network.named_parameters())
    state = engine.optimizer_state()
    assert set(state) == {f"{name}/{part}" for name in parameters for part in parts}
    for name, value in state.items():
        parameter, _, part = name.partition("/")
        assert value.shape == (() if part == "step" else parameters[parameter].shape)


SMALL = ("dataset=moons", "dataset.n=100", "model.hidden=[4]")
SEQUENCE = [0.5, 0.6, 0.6, 0.65, 0.64, math.nan, 0.65, 0.9]


@pytest.mark.parametrize(
    ("patience", "min_delta", "stops_after", "best_epoch"),
    [
        ("null", 0.0, None, 8),
        (1, 0.0, 3, 2),
        (2, 0.0, 6, 4),
        (3, 0.0, 7, 4),
        (4, 0.0, None, 8),
        (2, 0.07, 4, 4),  # 0.65 is the best, but too little above 0.6
        (4, 0.2, 5, 4),
    ],
)
def test_early_stopping(engine_kind, patience, min_delta, stops_after, best_epoch):
    trainer, _, _ = trainer_of(
        engine_kind,
        *SMALL,
        f"trainer.early_stopping.patience={patience}",
        f"trainer.early_stopping.min_delta={min_delta}",
    )
    followed = []
    for value in SEQUENCE:
        if trainer.stopped_early():
            break
        trainer.progress.epoch += 1
        trainer.follow({"loss": 0.0, "accuracy": value})
        followed.append(value)
    assert len(followed) == (stops_after or len(SEQUENCE))
    assert trainer.stopped_early() == (stops_after is not None)
    assert trainer.progress.best_epoch == best_epoch
    assert trainer.progress.best_value == max(value for value in followed if value == value)


def test_a_fit_stops_early(engine_kind):
    """With a rate this small no accuracy ever changes: the first epoch is best, and patience runs out."""
    trainer, reports, saved = trainer_of(
        engine_kind, *SMALL, "optimizer.lr=1e-30", "trainer.epochs=50", "trainer.early_stopping.patience=4"
    )
    trainer.fit()
    assert [report.epoch for report in reports] == [1, 2, 3, 4, 5]
    assert (trainer.progress.best_epoch, trainer.progress.best_step, saved) == (1, 1, [5])


@pytest.mark.parametrize("dataset", ["moons", "line"])
def test_the_best_weights_are_kept(engine_kind, dataset):
    trainer, reports, _ = trainer_of(
        engine_kind,
        f"dataset={dataset}",
        "model.hidden=[4]",
        "optimizer.lr=0.5",  # so high that scores go up and down
        "trainer.epochs=30",
        "trainer.batch_size=16",
    )
    trainer.fit()
    monitor = "accuracy" if dataset == "moons" else "loss"
    values = [report.scores["val"][monitor] for report in reports]
    best = max(values) if dataset == "moons" else min(values)
    losses = {report.epoch: report.scores["val"]["loss"] for report in reports}
    equal = [report.epoch for report, value in zip(reports, values, strict=True) if value == best]
    progress = trainer.progress
    assert (progress.best_value, progress.best_epoch) == (best, min(equal, key=losses.__getitem__))
    assert progress.best_step == reports[progress.best_epoch - 1].step
    assert 1 < progress.best_epoch < 30 and values[-1] != best
    trainer.engine.load_model_state(trainer.best_model)
    assert trainer.engine.evaluate("val")[monitor] == best


@pytest.mark.parametrize("dataset", ["moons", "line"])
def test_plateau_follows_the_monitored_score_as_torch_does(engine_kind, dataset):
    trainer, reports, _ = trainer_of(
        engine_kind,
        f"dataset={dataset}",
        "model.hidden=[4]",
        "optimizer.lr=0.3",
        "scheduler=plateau",
        "scheduler.patience=1",
        "scheduler.factor=0.5",
        "scheduler.cooldown=1",
        "scheduler.warmup_steps=20",
        "trainer.epochs=30",
        "trainer.batch_size=16",
    )
    trainer.fit()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    mode, monitor = ("max", "accuracy") if dataset == "moons" else ("min", "loss")
    scheduler = ReduceLROnPlateau(optimizer, mode=mode, patience=1, factor=0.5, cooldown=1)
    for report in reports:
        warm = min(1, report.step / 21)
        assert report.lr == pytest.approx(optimizer.param_groups[0]["lr"] * warm, rel=1e-9)
        scheduler.step(report.scores["val"][monitor])
    assert reports[-1].lr < 0.1  # it did decay


WAY_OUT = "training diverged; try a lower optimizer.lr or set trainer.clip_norm=1"


@pytest.mark.parametrize(
    ("batch_size", "problem"),
    [("full", "step 1 (epoch 1): val loss=inf"), (30, "step 2 (epoch 1): the loss is not finite")],
)
def test_divergence_names_the_step(engine_kind, batch_size, problem):
    """A full batch's loss is that before its update, so it is the next score that shows the harm."""
    trainer, reports, saved = trainer_of(
        engine_kind,
        "dataset=line",
        "model=linear",
        "init=zeros",
        "optimizer=sgd",
        "optimizer.lr=1e25",
        f"trainer.batch_size={batch_size}",
    )
    with pytest.raises(NonFiniteError) as error:
        trainer.fit()
    assert str(error.value) == f"{problem}: {WAY_OUT}"
    assert (reports, saved) == ([], [])


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_gradient_that_is_not_finite_stops_before_the_optimizer(optimizer, precision):
    """Of autograd; tests/test_stacked.py has numbers that overflow in both engines."""
    trainer, _, _ = trainer_of(
        AutogradEngine,
        "dataset=line",
        "model=mlp",
        f"optimizer={optimizer}",
        f"trainer.precision={precision}",
    )
    engine = trainer.engine
    engine.step(slice(None), 0.01, 0, 0, measure=False)
    before, moments = engine.model_state(), engine.optimizer_state()
    engine.network.layers[2].bias.register_hook(lambda gradient: gradient / 0)
    with pytest.raises(NonFiniteError) as error:
        engine.step(slice(None), 0.01, 3, 7, measure=False)
    assert str(error.value) == f"step 8 (epoch 4): the gradient of layers.2.bias is not finite: {WAY_OUT}"
    for kept, now in ((before, engine.model_state()), (moments, engine.optimizer_state())):
        assert kept.keys() == now.keys()
        assert all(torch.equal(kept[name], now[name]) for name in kept)


def test_reports_count_epochs_steps_and_rows(engine_kind):
    trainer, reports, saved = trainer_of(
        engine_kind, *SMALL, "trainer.epochs=7", "trainer.batch_size=16", "trainer.checkpoint_every=3"
    )
    trainer.fit()
    assert [(report.epoch, report.step, report.rows) for report in reports] == [
        (epoch, 4 * epoch, 60 * epoch) for epoch in range(1, 8)
    ]
    assert all(list(report.scores) == ["train", "val"] for report in reports)
    assert [report.seconds for report in reports] == sorted(report.seconds for report in reports)
    assert saved == [3, 6, 7]
