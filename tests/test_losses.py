"""Losses against torch's classes, in both engines, and how a config chooses one."""

import json
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from conftest import Refused
from engines import KINDS, Kind, collected, engine_of, model_of
from running import config, content, train
from scipy import special
from torch import Tensor, nn

from mlpkit.analysis.predict import load_predictor
from mlpkit.cli.main import run as command
from mlpkit.config import plugins, registry
from mlpkit.config.config import Config, parse, to_dict
from mlpkit.config.loss import LossConfig
from mlpkit.data.load import load_dataset
from mlpkit.engines.compiled import obstacle_to_compiling
from mlpkit.errors import ConfigError
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.losses.auto import LOSS_OF_TASK
from mlpkit.losses.binary_cross_entropy import BinaryCrossEntropy
from mlpkit.losses.cross_entropy import CrossEntropy
from mlpkit.losses.focal import Focal
from mlpkit.losses.huber import Huber
from mlpkit.losses.mae import Mae
from mlpkit.losses.mse import Mse
from mlpkit.losses.poisson import Poisson
from mlpkit.losses.quantile import Quantile
from mlpkit.losses.quantiles import Quantiles
from mlpkit.models.torch_network import build_model
from mlpkit.sweeps.datasets import Datasets
from mlpkit.sweeps.groups import group
from mlpkit.tasks import BINARY, MULTICLASS, TASKS
from mlpkit.training.build import build

ROWS = 50
EXACT = {"rtol": 1e-12, "atol": 1e-13}  # of a float64, for sums in another order
MSE, BCE, CE = (
    Mse(name="mse"),
    BinaryCrossEntropy(name="binary_cross_entropy"),
    CrossEntropy(name="cross_entropy"),
)
FILE = Path(__file__).with_name("extending") / "log_cosh.py"


def draw(*shape: int, scale: float = 3.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * scale


def labels(classes: int) -> Tensor:
    return torch.randint(classes, (ROWS,), generator=torch.Generator().manual_seed(6))


class Pinball(nn.Module):
    """The formula of Koenker and Bassett, as scikit-learn has it."""

    def __init__(self, q: float, reduction: str = "mean") -> None:
        super().__init__()
        self.q, self.reduction = q, reduction

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses = torch.where(
            targets > outputs, self.q * (targets - outputs), (1 - self.q) * (outputs - targets)
        )
        return losses if self.reduction == "none" else losses.mean()


class PinballOfThree(Pinball):
    """Its mean over the quantiles 0.5, 0.1 and 0.9, each with its own columns of the outputs."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(0.5, reduction)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        width = targets.shape[1]
        parts = [outputs[:, place * width : (place + 1) * width] for place in range(3)]
        each = [
            Pinball(q, self.reduction)(part, targets) for q, part in zip((0.5, 0.1, 0.9), parts, strict=True)
        ]
        return torch.stack(each, -1).mean(-1)


class FocalOf(nn.Module):
    """torchvision's focal loss of two classes, and its formula for more."""

    def __init__(self, gamma: float, reduction: str = "mean") -> None:
        super().__init__()
        self.gamma, self.reduction = gamma, reduction

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.shape[1] == 1:
            from torchvision.ops import sigmoid_focal_loss

            return sigmoid_focal_loss(outputs, targets, alpha=-1, gamma=self.gamma, reduction=self.reduction)
        p = outputs.softmax(1)[range(len(targets)), targets]
        losses = -((1 - p) ** self.gamma) * p.log()
        return losses if self.reduction == "none" else losses.mean()


NUMBERS, WORDS = draw(ROWS, 3).cos(), labels(4)
CASES = {
    "mae": (Mae(name="mae"), draw(ROWS, 3), NUMBERS, nn.L1Loss),
    "huber": (Huber(name="huber"), draw(ROWS, 3), NUMBERS, nn.HuberLoss),
    "huber from 0.3": (
        Huber(name="huber", delta=0.3),
        draw(ROWS, 1),
        NUMBERS[:, :1],
        partial(nn.HuberLoss, delta=0.3),
    ),
    **{
        f"quantile {q}": (Quantile(name="quantile", quantile=q), draw(ROWS, 3), NUMBERS, partial(Pinball, q))
        for q in (0.1, 0.5, 0.9)
    },
    "quantiles": (Quantiles(name="quantiles", coverage=0.8), draw(ROWS, 3), NUMBERS[:, :1], PinballOfThree),
    "quantiles of two targets": (
        Quantiles(name="quantiles", coverage=0.8),
        draw(ROWS, 6),
        NUMBERS[:, :2],
        PinballOfThree,
    ),
    **{
        f"focal {gamma} of {width}": (
            Focal(name="focal", gamma=gamma),
            draw(ROWS, width),
            of,
            partial(FocalOf, gamma),
        )
        for gamma in (0.0, 1.0, 2.5)
        for width, of in ((1, labels(2).double()[:, None]), (4, WORDS))
    },
    "cross_entropy, smoothed": (
        CrossEntropy(name="cross_entropy", label_smoothing=0.1),
        draw(ROWS, 4),
        WORDS,
        partial(nn.CrossEntropyLoss, label_smoothing=0.1),
    ),
    "poisson": (Poisson(name="poisson"), draw(ROWS, 3), draw(ROWS, 3).abs().round(), nn.PoissonNLLLoss),
    "mse": (MSE, draw(ROWS, 1), draw(ROWS, 1).cos(), nn.MSELoss),
    "mse of three targets": (MSE, draw(ROWS, 3), draw(ROWS, 3).cos(), nn.MSELoss),
    "binary_cross_entropy": (BCE, draw(ROWS, 1), labels(2).double()[:, None], nn.BCEWithLogitsLoss),
    "cross_entropy": (CE, draw(ROWS, 4), labels(4), nn.CrossEntropyLoss),
}


def test_each_loss_is_tested() -> None:
    assert {loss.name for loss, *_ in CASES.values()} == registry.choices("loss").keys() - {"auto"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("loss", "outputs", "targets", "kind"), CASES.values(), ids=CASES)
def test_loss_of_each_example_equals_torch(
    loss: LossConfig, outputs: Tensor, targets: Tensor, kind: Any
) -> None:
    losses, expected = loss.per_example(outputs, targets), kind(reduction="none")(outputs, targets)
    assert losses.shape == (ROWS,)
    torch.testing.assert_close(losses, expected.reshape(ROWS, -1).mean(1))
    trained = loss.per_example(outputs.clone().requires_grad_(), targets)  # which may go another way
    torch.testing.assert_close(losses, trained.detach())
    torch.testing.assert_close(losses.mean(), kind()(outputs, targets))  # what a training loop would take


@pytest.mark.parametrize(("loss", "outputs", "targets", "kind"), CASES.values(), ids=CASES)
def test_the_gradient_by_hand_is_that_of_torchs_loss(
    loss: LossConfig, outputs: Tensor, targets: Tensor, kind: Any
) -> None:
    """For outputs of any size, where a sigmoid or a softmax is nearly flat too."""
    outputs = outputs * torch.logspace(-3, 1.5, ROWS, dtype=torch.float64)[:, None]
    check_gradient(loss, outputs, targets, kind())


def check_gradient(loss: LossConfig, outputs: Tensor, targets: Tensor, mean: Any) -> None:
    outputs = outputs.clone().requires_grad_()
    (expected,) = torch.autograd.grad(mean(outputs, targets) * ROWS, outputs)
    by_hand, width = loss.by_hand(), outputs.shape[1]
    assert by_hand is not None
    y, found = loss.expected(targets, width, torch.float64), torch.empty_like(expected)
    by_hand.write(outputs.detach().mT, y.mT, found.mT)
    torch.testing.assert_close(found * by_hand.factor(width), expected, **EXACT)


def test_losses_are_their_formulas() -> None:
    logits, values = draw(ROWS, 1), draw(ROWS, 4)
    p, y = special.expit(logits.numpy())[:, 0], labels(2).numpy()
    expected = -y * np.log(p) - (1 - y) * np.log(1 - p)
    np.testing.assert_allclose(BCE.per_example(logits, labels(2).double()[:, None]), expected)
    expected = -special.log_softmax(values.numpy(), axis=1)[range(ROWS), labels(4).numpy()]
    np.testing.assert_allclose(CE.per_example(values, labels(4)), expected)


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0, 20.0, 80.0])
@pytest.mark.parametrize("loss", [BCE, CE], ids=lambda loss: loss.name)
def test_float32_losses_are_as_exact_as_torchs(loss: LossConfig, scale: float) -> None:
    random, task = torch.Generator().manual_seed(7), BINARY if loss is BCE else MULTICLASS
    outputs = scale * torch.randn(20_000, 1 if loss is BCE else 10, generator=random)
    targets = task.encode(torch.arange(20_000) % (2 if loss is BCE else 10), torch.float32)
    torch_loss = (nn.BCEWithLogitsLoss if loss is BCE else nn.CrossEntropyLoss)(reduction="none")
    double = targets.double() if loss is BCE else targets
    exact = torch_loss(outputs.double(), double).view(-1)
    ours, theirs = (
        float((of.view(-1) - exact).abs().max())
        for of in (loss.per_example(outputs, targets), torch_loss(outputs, targets))
    )
    assert ours <= 1.5 * theirs + 6e-8  # half a unit in the last place of one


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("rows", [161, 4001])
def test_binary_losses_are_exact_however_small(rows: int, dtype: torch.dtype, bound: float) -> None:
    """Of equal accuracies the lower loss is better, so that small ones matter as large ones do."""
    logits = torch.linspace(-80, 80, rows, dtype=dtype)[:, None]
    for label in (0, 1):
        encoded = BINARY.encode(torch.full((rows,), label), dtype)
        exact = np.logaddexp(0, (1 - 2 * label) * logits.to(torch.float64).numpy()[:, 0])
        np.testing.assert_allclose(BCE.per_example(logits, encoded).double(), exact, rtol=bound)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("width", [1, 3])
def test_the_focal_gradient_of_sure_answers_stays_finite(gamma: float, width: int) -> None:
    outputs = torch.tensor([[-1000.0] * width, [1000.0] + [0.0] * (width - 1)], requires_grad=True)
    loss, targets = Focal(name="focal", gamma=gamma), labels(2)[:2]
    encoded = (BINARY if width == 1 else MULTICLASS).encode(targets, torch.float32)
    loss.per_example(outputs, encoded).sum().backward()  # type: ignore[no-untyped-call]
    by_hand = loss.gradient(outputs.detach(), loss.expected(encoded, width, torch.float32))
    assert outputs.grad is not None
    torch.testing.assert_close(by_hand, outputs.grad)
    assert by_hand.isfinite().all()


@pytest.mark.parametrize("logit", [1000.0, -1000.0])
def test_losses_of_sure_answers_stay_finite(logit: float) -> None:
    outputs = torch.tensor([[logit], [logit]])
    losses = BCE.per_example(outputs, BINARY.encode(torch.tensor([0, 1]), torch.float32))
    assert sorted(losses.tolist()) == [0, 1000]
    both = torch.cat((outputs, -outputs), dim=1)
    assert sorted(CE.per_example(both, torch.tensor([0, 1])).tolist()) == [0, 2000]


# ------------------------------------------------------------------------------ how a config chooses one

QUICK = ("run.plots=false", "run.tensorboard=false")
OF_DATASET = {"line": "mse", "moons": "binary_cross_entropy", "digits": "cross_entropy"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dataset", OF_DATASET)
def test_the_tasks_loss_by_its_name_is_auto(dataset: str, tmp_path: Path) -> None:
    """To the bit, in all that a checkpoint holds but the name."""
    chosen = (f"dataset={dataset}", "model.hidden=[8]", "trainer.batch_size=32", "trainer.epochs=3", *QUICK)
    auto = content(train(tmp_path, *chosen).last)
    named = content(train(tmp_path, *chosen, f"loss={OF_DATASET[dataset]}").last)
    assert auto["about"][0]["loss"] == {"name": "auto"}
    assert named["about"][0]["loss"]["name"] == OF_DATASET[dataset]
    for part in ("tensors", "scores", "progress"):
        assert named[part] == auto[part]


def test_every_task_has_a_loss_of_its_own() -> None:
    assert LOSS_OF_TASK.keys() == TASKS.keys()
    for task, name in LOSS_OF_TASK.items():
        schema = registry.choices("loss")[name]
        assert issubclass(schema, LossConfig)
        assert task in schema.tasks


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("dataset", "loss", "kind", "way"),
    [
        ("moons", "mse", "binary classification", "auto, binary_cross_entropy or focal"),
        ("moons", "cross_entropy", "binary classification", "auto, binary_cross_entropy or focal"),
        ("line", "cross_entropy", "regression", "auto, huber, mae, mse, poisson, quantile or quantiles"),
        ("digits", "mae", "multiclass classification", "auto, cross_entropy or focal"),
    ],
)
def test_a_loss_for_another_task_is_refused(
    dataset: str, loss: str, kind: str, way: str, refused: Refused
) -> None:
    said = f"loss={loss}: dataset={dataset} is a {kind}; use loss={way}"
    chosen = (f"dataset={dataset}", f"loss={loss}")
    assert refused("train", *chosen, code=2) == said
    _, wrong = group({0: config(*chosen)}, Datasets())
    assert str(wrong[0]) == said


def test_a_loss_that_does_not_exist(refused: Refused) -> None:
    assert "did you mean mse?" in refused("train", "dataset=line", "loss=msee", code=2)
    said = refused("train", "dataset=line", "loss.name=msee", code=2)
    assert said.startswith("loss.name=")


OLD = Path(__file__).with_name("format-3.safetensors")  # of an mlpkit that had no choice of losses


def test_a_checkpoint_without_a_loss_is_loaded_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_predictor(OLD)[0].loss == OF_LOSSES[load_predictor(OLD)[1].input_schema.task]
    chosen = ("dataset=moons", "model.hidden=[4]", *QUICK)
    whole = content(train(tmp_path, *chosen, "trainer.epochs=5").last)
    folder = train(tmp_path, *chosen, "trainer.epochs=3")
    new = checkpoint.load(folder.last, checkpoint.KINDS)
    without = {name: part for name, part in to_dict(new.config).items() if name != "loss"}
    monkeypatch.setattr(checkpoint, "to_dict", lambda config: without)
    for path in (folder.last, folder.best):
        checkpoint.save(path, checkpoint.load(path, checkpoint.KINDS))
    monkeypatch.undo()
    assert b'loss\\": {' not in folder.last.read_bytes()
    text = folder.config.read_text()
    assert "loss:\n  name: auto\n" in text
    folder.config.write_text(text.replace("loss:\n  name: auto\n", ""))
    assert command(["resume", str(folder.path), "trainer.epochs=5"]) == 0, capsys.readouterr()
    assert content(folder.last)["tensors"] == whole["tensors"]


OF_LOSSES = {"regression": MSE, "binary": BCE, "multiclass": CE}


def test_runs_of_one_program_share_their_loss() -> None:
    base = to_dict(config("dataset=line", "model.hidden=[4]", *QUICK))
    losses = ({"name": "auto"}, {"name": "mse"}, {"name": "huber"}, {"name": "huber", "delta": 2.0})
    configs = {n: parse({**base, "loss": losses[n // 2], "seed": n % 2}) for n in range(8)}
    groups, wrong = group(configs, Datasets())
    assert not wrong
    assert [of.numbers for of in groups] == [(0, 1, 2, 3), (4, 5), (6, 7)]


# --------------------------------------------------------------------------------------- one of one's own


class Without(LossConfig):
    """Huber's loss without its gradient."""

    name: Literal["without"]
    tasks = ("regression",)

    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.huber_loss(outputs, targets, reduction="none").mean(1)


class Mean(LossConfig):
    """A loss that returns one number, as torch's do by themselves."""

    name: Literal["mean"]

    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).abs().mean()


class Thin(Without):
    """A loss whose gradient has another shape than the outputs."""

    name: Literal["thin"]  # type: ignore[assignment]

    def gradient(self, outputs: Tensor, y: Tensor) -> Tensor:
        return (outputs - y).sum(-1)


LINE = ("dataset=line", "dataset.n=100", "trainer.precision=float64", "run.tensorboard=false")


def with_loss(name: str, *overrides: str, **options: Any) -> Config:
    return parse({**to_dict(config(*LINE, *overrides)), "loss": {"name": name, **options}})


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_a_loss_of_ones_own_is_its_formula(scale: float) -> None:
    plugins.load([str(FILE)])
    loss = with_loss("log_cosh", scale=scale).loss
    outputs, targets = draw(ROWS, 3), draw(ROWS, 3).cos()
    expected = (scale**2 * np.log(np.cosh((outputs - targets).numpy() / scale))).mean(1)
    np.testing.assert_allclose(loss.per_example(outputs, targets), expected)
    check_gradient(loss, outputs, targets, lambda *both: loss.per_example(*both).mean())


@pytest.mark.parametrize("batch", ["full", 16])
@pytest.mark.parametrize("kind", KINDS)
def test_huber_trains_as_a_loop_of_ones_own(kind: Kind, batch: str | int) -> None:
    """A run alone, and three beside each other."""
    configs = [
        parse({**to_dict(with_loss("huber", f"trainer.batch_size={batch}", delta=0.5)), "seed": seed})
        for seed in range(3)
    ]
    dataset = load_dataset(configs[0].dataset)
    together = engine_of(kind, configs=configs, datasets=[dataset] * 3)
    of_steps = [(0, step, rows) for step, rows in enumerate(together.rows_of_steps(0, 0))]
    for epoch, step, rows in of_steps:
        together.step(rows, [0.01] * len(together.optimizers.blocks), epoch, step, measure=False)
    for run, each in enumerate(configs):
        engine = engine_of(kind, configs=[each], datasets=[dataset])
        network, train = build_model(each, dataset), dataset.splits["train"]
        optimizer = torch.optim.Adam(network.parameters(), 0.01)
        losses = []
        for step, rows in enumerate(engine.rows_of_steps(0, 0)):
            optimizer.zero_grad()
            outputs = network(train.inputs[rows].double())
            loss = nn.HuberLoss(delta=0.5)(outputs, train.targets[rows].double())
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item() * len(outputs))
            engine.step(rows, [0.01], 0, step, measure=False)
        for found in (model_of(engine), model_of(together, run)):
            for name, value in network.named_parameters():
                torch.testing.assert_close(found[name], value.detach(), rtol=1e-9, atol=1e-12)
        assert collected(engine)["loss"] == pytest.approx(sum(losses) / len(train.targets), rel=1e-9)


@pytest.mark.usefixtures("own")
def test_which_engine_trains_a_loss_of_ones_own(refused: Refused) -> None:
    registry.choice("loss")(Without)
    engine = build([with_loss("huber")])
    assert (engine.name, engine.reason) == ("stacked", "linear layers, differentiated by hand")
    engine = build([with_loss("without")])
    assert (engine.name, engine.reason) == ("autograd", "for the loss without")
    chosen = ("train", *LINE, "loss=without")
    assert refused(*chosen, "trainer.engine=stacked", code=2) == (
        "trainer.engine=stacked: the gradient of loss=without is not derived by hand; set trainer.engine=auto"
    )
    for name in ("huber", "without"):
        assert refused("train", *LINE, f"loss={name}", "trainer.compile=true", code=2) == (
            f"trainer.compile=true: it does not know loss={name}; set trainer.compile=auto"
        )
    small = build([with_loss("mse", "model.hidden=[4]")]).experiments[0]
    assert obstacle_to_compiling([small.config], small.network, small.loss, "cpu", False) is None


@pytest.mark.usefixtures("own")
def test_networks_of_several_widths_need_a_gradient_by_hand() -> None:
    registry.choice("loss")(Without)
    configs = {n: with_loss("without", f"model.hidden=[{n + 2}]") for n in range(2)}
    groups, wrong = group(configs, Datasets())
    assert (len(groups), wrong) == (2, {})


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (Mean, "loss=mean: per_example returns () for outputs (2, 1), not (2,)"),
        (Thin, "loss=thin: gradient returns (2,) for outputs (2, 1), not (2, 1)"),
    ],
)
def test_a_loss_of_another_shape_is_refused(schema: type[LossConfig], said: str) -> None:
    registry.choice("loss")(schema)
    with pytest.raises(ConfigError) as caught:
        build([with_loss(schema.__name__.lower())])
    assert caught.value.args == (said,)


@pytest.mark.long
def test_a_run_with_a_loss_of_ones_own_is_used_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loss that is evaluated is the one that was trained, of standardised targets."""
    monkeypatch.chdir(tmp_path)
    chosen = (*LINE, "loss=huber", "loss.delta=0.5", "dataset.standardize=true", "run.progress=none")
    assert command(["train", *chosen, "run.dir=it", "trainer.epochs=3"]) == 0
    assert command(["resume", "it", "trainer.epochs=5"]) == 0
    for also in ("evaluate", "inspect", "plot"):
        assert command([also, "it"]) == 0
    predictor, stored = load_predictor(RunFolder(Path("it")).last)
    val = load_dataset(stored.config.dataset).splits["val"]
    with torch.no_grad():
        y, outputs = predictor.network.standardize(val.targets.double()), predictor.outputs(val.inputs)
        expected = nn.HuberLoss(delta=0.5)(predictor.network.standardize(outputs), y)
    assert json.loads(Path("it/summary.json").read_text())["val"]["loss"] == pytest.approx(float(expected))
    assert float(predictor.losses(val.inputs, val.targets.double()).mean()) == pytest.approx(float(expected))


def test_losses_of_another_kind_are_not_ranked(
    tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    short = (*LINE, "trainer.epochs=2", "run.plots=false", "run.progress=none")
    for number, loss in enumerate(("auto", "mse", "huber")):
        assert command(["train", *short, f"loss={loss}", f"run.dir=it/{number}"]) == 0
    capsys.readouterr()
    assert refused("compare", "it", "--metric", "loss", code=2) == (
        "--metric=loss: the runs were trained with different losses; choose r2 or mae or rmse"
    )
    assert command(["compare", "it"]) == 0
    printed = capsys.readouterr()
    assert "losses are in different units: loss" in printed.out + printed.err
    assert command(["compare", "it/0", "it/1", "--metric", "loss"]) == 0
    capsys.readouterr()
    said = refused("train", *LINE, "-m", "loss=mse,huber", "--search", "tpe", "--trials", "2", code=2)
    assert said == "--search: values of different losses cannot rank trials; give loss one value"
