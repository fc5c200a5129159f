"""The engine's scores and the trainer's decisions: best weights, early stopping, plateau, divergence."""

import pytest
import torch
from engines import KINDS, collected, engine_of, evaluated, model_of, network_of, trainer_of
from sklearn import metrics as sk
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mlpkit.data.augment import Augmentation, Draws
from mlpkit.data.dataset import Split
from mlpkit.data.randomness import generator
from mlpkit.engines.autograd import AutogradGradients
from mlpkit.engines.device_data import EVALUATION_ROWS
from mlpkit.engines.manual import ManualGradients
from mlpkit.errors import NonFiniteError


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request):
    return request.param


def fitted(kind, *overrides):
    """Train a run; return the engine and what has recorded it."""
    engine = engine_of(kind, *overrides)
    trainer, (recorder,) = trainer_of(engine)
    trainer.fit()
    return engine, recorder


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
def test_evaluate_equals_sklearn_on_all_rows_at_once(kind, dataset, features, classes):
    split = many_rows(features, classes)
    engine = engine_of(kind, f"dataset={dataset}", "model.hidden=[8]", big=split)
    with torch.no_grad():
        outputs = network_of(engine)(split.inputs)
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
    assert evaluated(engine, "big") == pytest.approx(expected, rel=1e-5)


STEP = {"lrs": [0.1], "epoch": 0, "step": 0, "measure": True}


@pytest.mark.parametrize(
    ("kind", "layers"),
    [
        (ManualGradients, "model.dropout=0.5"),
        (AutogradGradients, "model.dropout=0.5"),
        (AutogradGradients, "model.norm=batch"),
        (AutogradGradients, "model.norm=layer"),
    ],
)
def test_evaluation_is_without_effect_and_repeats(kind, layers):
    overrides = ("dataset=moons", "model.hidden=[8]", "trainer.batch_size=25", "trainer.accumulate=2", layers)
    engine, untouched = engine_of(kind, *overrides), engine_of(kind, *overrides)
    for step, rows in enumerate(torch.arange(150).split(50)):
        for each in (engine, untouched):
            each.step(rows, [0.1], 0, step, measure=False)
        before = model_of(engine)
        assert evaluated(engine, "val") == evaluated(engine, "val")
        torch.testing.assert_close(model_of(engine), before, rtol=0, atol=0)
    torch.testing.assert_close(model_of(engine), model_of(untouched), rtol=0, atol=0)
    assert collected(engine, 150) == collected(untouched, 150)


def test_collect_gives_the_mean_over_rows_before_each_update(kind):
    overrides = ("dataset=moons", "optimizer=sgd", "trainer.batch_size=32", "trainer.accumulate=2")
    engine = engine_of(kind, *overrides)
    train, losses, right = engine.experiments[0].dataset.splits["train"], [], []
    for step, rows in enumerate(torch.arange(300).split(64)):  # the last one is batches of 32 and 12
        with torch.no_grad():
            outputs, targets = network_of(engine)(train.inputs[rows]), train.targets[rows]
            losses.append(
                nn.functional.binary_cross_entropy_with_logits(
                    outputs[:, 0], targets.float(), reduction="none"
                )
            )
            right.append((outputs[:, 0] > 0) == targets)
        engine.step(rows, [0.5], 0, step, measure=False)
    expected = {
        "loss": torch.cat(losses).mean().item(),
        "accuracy": torch.cat(right).float().mean().item(),
    }
    assert collected(engine) == pytest.approx(expected, rel=1e-5)


def test_scores_of_a_full_batch_are_those_before_its_update(kind):
    engine = engine_of(kind, "dataset=line", "model=linear", "dataset.standardize=true")
    before = evaluated(engine, "train")
    engine.step(slice(None), **STEP)
    assert collected(engine) == pytest.approx(before)
    assert evaluated(engine, "train") != before


IMAGES = (
    "dataset=digits",
    "model.hidden=[16]",
    "trainer.batch_size=50",
    "optimizer=sgd",
    "dataset.test_fraction=0.8",
)
ROWS = torch.arange(100)


@pytest.mark.parametrize("options", ["model.dropout=0.5", "dataset.augment.rotation=20"])
def test_what_a_step_draws_is_a_function_of_epoch_and_step(kind, options):
    engine = engine_of(kind, *IMAGES, options)
    first = engine.state(0)

    def weights_after(epoch, step):
        engine.load_state(0, first)
        engine.step(ROWS, [0.1], epoch, step, measure=False)
        engine.collect()
        return tuple(model_of(engine)["layers.0.weight"].flatten().tolist())

    times = [(0, 0), (0, 1), (1, 0), (1, 1)]
    weights = [weights_after(*time) for time in times]
    assert len(set(weights)) == 4
    assert weights[::-1] == [weights_after(*time) for time in times[::-1]]


def test_raw_images_are_augmented_and_then_scaled(kind):
    """A step on augmented images equals one, without augmentation, on the same images made before it."""
    engine = engine_of(kind, *IMAGES, "dataset.augment.rotation=20", "dataset.augment.translation=1")
    of, train = engine.experiments[0].config, engine.experiments[0].dataset.splits["train"]
    images, random = train.inputs[ROWS], generator(0, "augment", epoch=2, step=9)
    augment, draws = Augmentation(of.dataset.augmentation(), (8, 8)), Draws(of.seed, 2, random)
    parts = [augment(part, draws) for part in images.split(50)]
    plain = engine_of(kind, *IMAGES, train=Split(torch.cat(parts), train.targets[ROWS]))
    for each in (engine, plain):
        each.step(ROWS, [0.1], 2, 9, measure=False)
    torch.testing.assert_close(model_of(engine), model_of(plain))
    assert collected(engine, 100) == pytest.approx(collected(plain, 100))
    unchanged = engine_of(kind, *IMAGES, train=train)
    unchanged.load_state(0, engine.state(0))
    assert evaluated(engine, "train") == evaluated(unchanged, "train")  # on the images as they are


@pytest.mark.parametrize("clipping", [(), ("trainer.clip_norm=1e-3",), ("trainer.clip_value=1e-3",)])
def test_gradient_norm_is_that_before_clipping(kind, clipping):
    engine = engine_of(kind, "dataset=sum", "dataset.low=5", "dataset.high=9", *clipping)
    other = network_of(engine_of(kind, "dataset=sum", "dataset.low=5", "dataset.high=9"))
    train = engine.experiments[0].dataset.splits["train"]
    loss = nn.functional.mse_loss(other(train.inputs), train.targets)
    gradient = torch.cat([slopes.flatten() for slopes in torch.autograd.grad(loss, list(other.parameters()))])
    assert engine.clip.norms.tolist() == [[0]]
    engine.step(slice(None), **STEP)
    assert engine.clip.norms.item() == pytest.approx(gradient.norm().item(), rel=1e-5)


def test_states_are_copies_and_can_be_taken_back(kind):
    engine = engine_of(kind, "dataset=moons", "optimizer=adam")
    first = engine.state(0)
    kept = {name: value.clone() for name, value in first["model"].items()}
    scores = evaluated(engine, "val")
    engine.step(slice(None), **STEP)
    assert evaluated(engine, "val") != scores
    torch.testing.assert_close(first["model"], kept, rtol=0, atol=0)
    engine.load_state(0, first)
    assert evaluated(engine, "val") == scores


@pytest.mark.parametrize(
    ("optimizer", "parts"),
    [
        (("optimizer=sgd",), set()),
        (("optimizer=sgd", "optimizer.momentum=0.9"), {"momentum_buffer"}),
        (("optimizer=adam",), {"exp_avg", "exp_avg_sq", "step"}),
        (("optimizer=adamw",), {"exp_avg", "exp_avg_sq", "step"}),
    ],
)
def test_names_of_the_optimizer_state(kind, optimizer, parts):
    engine = engine_of(kind, "dataset=moons", "model.hidden=[3]", *optimizer)
    engine.step(slice(None), **STEP)
    parameters = dict(network_of(engine).named_parameters())
    state = engine.state(0)["optimizer"]
    assert set(state) == {f"{name}/{part}" for name in parameters for part in parts}
    for name, value in state.items():
        parameter, _, part = name.partition("/")
        assert value.shape == (() if part == "step" else parameters[parameter].shape)


SMALL = ("dataset=moons", "dataset.n=100", "model.hidden=[4]")


def test_a_fit_stops_early(kind):
    """With a rate this small no accuracy ever changes: the first epoch is best, and patience runs out."""
    _, recorder = fitted(
        kind, *SMALL, "optimizer.lr=1e-30", "trainer.epochs=50", "trainer.early_stopping.patience=4"
    )
    assert [report.epoch for report in recorder.reports] == [1, 2, 3, 4, 5]
    (state,) = recorder.saved
    assert (state.progress.epoch, state.progress.best_epoch, state.progress.best_step) == (5, 1, 1)
    assert recorder.summary["status"] == "stopped early"


@pytest.mark.parametrize("dataset", ["moons", "line"])
def test_the_best_weights_are_kept(kind, dataset):
    overrides = (
        f"dataset={dataset}",
        "model.hidden=[4]",
        "optimizer.lr=0.5",  # so high that scores go up and down
        "trainer.epochs=30",
        "trainer.batch_size=16",
    )
    engine, recorder = fitted(kind, *overrides)
    monitor = engine.task.monitor
    values, progress = recorder.values("val", monitor), recorder.progress
    best = max(values) if dataset == "moons" else min(values)
    losses = {report.epoch: report.scores["val"]["loss"] for report in recorder.reports}
    equal = [report.epoch for report, value in zip(recorder.reports, values, strict=True) if value == best]
    assert (progress.best_value, progress.best_epoch) == (best, min(equal, key=losses.__getitem__))
    report = recorder.reports[progress.best_epoch - 1]
    assert (progress.best_step, progress.best_scores) == (report.step, report.scores)
    assert 1 < progress.best_epoch < 30 and values[-1] != best
    engine.load_state(0, {"model": recorder.saved[-1].best})
    assert evaluated(engine, "val")[monitor] == best
    assert recorder.summary["best"]["val"][monitor] == best


@pytest.mark.sampled(3)
@pytest.mark.parametrize("dataset", ["moons", "line"])
def test_plateau_follows_the_monitored_score_as_torch_does(kind, dataset):
    engine, recorder = fitted(
        kind,
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
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    mode = "max" if engine.task.higher_is_better else "min"
    scheduler = ReduceLROnPlateau(optimizer, mode=mode, patience=1, factor=0.5, cooldown=1)
    for report in recorder.reports:
        warm = min(1, report.step / 21)
        assert report.lr == pytest.approx(optimizer.param_groups[0]["lr"] * warm, rel=1e-9)
        scheduler.step(report.scores["val"][engine.task.monitor])
    assert recorder.reports[-1].lr < 0.1  # it did decay


WAY_OUT = "training diverged; try a lower optimizer.lr or set trainer.clip_norm=1"


@pytest.mark.parametrize(
    ("batch_size", "problem"),
    [("full", "step 1 (epoch 1): val loss=inf"), (30, "step 2 (epoch 1): the loss is not finite")],
)
def test_divergence_names_the_step(kind, batch_size, problem):
    """A full batch's loss is that before its update, so it is the next score that shows the harm."""
    _, recorder = fitted(
        kind,
        "dataset=line",
        "model=linear",
        "init=zeros",
        "optimizer=sgd",
        "optimizer.lr=1e25",
        f"trainer.batch_size={batch_size}",
    )
    assert isinstance(recorder.error, NonFiniteError)
    assert str(recorder.error) == f"{problem}: {WAY_OUT}"
    assert (recorder.reports, recorder.saved, recorder.summary) == ([], [], {})


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_gradient_that_is_not_finite_stops_before_the_optimizer(optimizer, precision):
    """Of autograd; tests/test_gradients.py has numbers that overflow by hand as well."""
    engine = engine_of(
        AutogradGradients,
        "dataset=line",
        "model=mlp",
        f"optimizer={optimizer}",
        f"trainer.precision={precision}",
    )
    engine.step(slice(None), [0.01], 0, 0, measure=False)
    engine.collect()
    before = engine.state(0)
    network_of(engine).layers[2].bias.register_hook(lambda gradient: gradient / 0)
    found = engine.step(slice(None), [0.01], 3, 7, measure=False)
    assert found == {0: "the gradient of layers.2.bias is not finite"}
    now = engine.state(0)
    for part in ("model", "optimizer"):
        torch.testing.assert_close(now[part], before[part], rtol=0, atol=0)


def test_reports_count_epochs_steps_and_rows(kind):
    _, recorder = fitted(
        kind, *SMALL, "trainer.epochs=7", "trainer.batch_size=16", "trainer.checkpoint_every=3"
    )
    reports = recorder.reports
    assert [(report.epoch, report.step, report.rows) for report in reports] == [
        (epoch, 4 * epoch, 60 * epoch) for epoch in range(1, 8)
    ]
    assert all(list(report.scores) == ["train", "val"] for report in reports)
    assert [report.seconds for report in reports] == sorted(report.seconds for report in reports)
    assert [state.progress.epoch for state in recorder.saved] == [3, 6, 7]
