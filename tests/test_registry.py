"""A choice is one file: every registered one trains, and so does one from a file outside the package."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pytest
import torch
from conftest import Refused
from engines import KINDS, Kind, engine_of, model_of, trainer_of
from own_data import own_path
from running import config, content, dataset_of_loss
from tables import customers, write_csv
from test_images import write_files
from torch import Tensor
from torch.nn import functional as F

from mlpkit.analysis.predict import load_predictor
from mlpkit.cli.main import run as command
from mlpkit.config import plugins, registry, search_path
from mlpkit.config.config import json_schema, parse, to_dict
from mlpkit.config.metric import MetricConfig
from mlpkit.config.model import ModelConfig
from mlpkit.config.optimizer import Buffers, OptimizerConfig, Slots
from mlpkit.config.section import Section
from mlpkit.data.load import load_dataset
from mlpkit.engines.updates import Update
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.trust import Trust
from mlpkit.training.build import build

GROUPS = [group for group in registry.PACKAGES if group not in ("logger", "launcher")]
CHOICES = [(group, name) for group in GROUPS for name in registry.choices(group)]
SMALL = ("dataset=moons", "dataset.n=60", "model.hidden=[4]", "run.plots=false")
SIGNUM = Path(__file__).with_name("extending") / "signum.py"


def read(name: str) -> None:
    """Register what a file of tests/extending holds, which docs/extending.md shows."""
    plugins.load([str(Path(__file__).with_name("extending") / f"{name}.py")])


def write_yaml(group: str, name: str) -> None:
    folder = Path("configs") / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(f"name: {name}\n")


@pytest.fixture
def signum(own: Callable[[], None]) -> None:
    plugins.load([str(SIGNUM)])


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_trains_with_its_defaults(
    group: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPKIT_DATA", str(tmp_path))
    write_files(tmp_path)  # for the datasets that are not computed
    whole = to_dict(config(*SMALL, "trainer.epochs=2"))
    section = {"name": name}
    if group == "activation":  # a key of a model
        group, section = "model", {**whole["model"], "activation": name}
    elif name == "table":
        section |= {"path": str(write_csv(tmp_path / "churn.csv", customers(60))), "target": "churned"}
    elif path := own_path(name, tmp_path):
        section |= {"path": str(path)}
    elif group == "loss":
        whole["dataset"] = {"name": dataset_of_loss(name)}
    elif name == "linear" and group == "model":
        whole["dataset"] = {"name": "line"}
    elif group == "metric":  # a name in a section
        schema = registry.choices("metric")[name]
        assert issubclass(schema, MetricConfig)
        whole["dataset"] = {"name": "moons" if "binary" in schema.tasks else "line"}
        whole["run"]["metrics"] = [name]
        group, section = "run", whole["run"]
    engine = engine_of(KINDS[1], configs=[parse({**whole, group: section})])
    before = model_of(engine)
    trainer, (recorder,) = trainer_of(engine)
    trainer.fit()
    after = model_of(engine)
    assert len(recorder.reports) == 2
    assert all(bool(values.isfinite().all()) for values in after.values())
    assert any(not torch.equal(before[of], after[of]) for of in after)


@pytest.mark.parametrize("group", registry.SECTIONS)
def test_every_choice_has_a_yaml_file(group: str) -> None:
    files = search_path.groups([search_path.packaged()])[group]
    assert list(registry.choices(group)) == sorted(name for name, path in files.items() if path)


@pytest.mark.usefixtures("signum")
@pytest.mark.parametrize("kind", KINDS)
def test_an_optimizer_from_outside_trains(kind: Kind) -> None:
    """It gives the weights of Signum's formulas, written here, for a run alone and for runs beside others."""
    settings = [{"lr": 0.01}, {"lr": 0.02, "weight_decay": 0.1}]
    whole = to_dict(config(*SMALL, "trainer.precision=float64"))
    configs = [parse({**whole, "optimizer": {"name": "signum", **options}}) for options in settings]
    alone = [engine_of(kind, configs=[each]) for each in configs]
    together = engine_of(kind, configs=configs)
    splits = alone[0].experiments[0].dataset.splits["train"]
    inputs, targets = splits.inputs.double(), splits.targets.double().view(-1, 1)
    for run, (engine, options) in enumerate(zip(alone, settings, strict=True)):
        values = [of.requires_grad_() for of in model_of(engine).values()]
        averages = [torch.zeros_like(of) for of in values]
        for step in range(20):
            engine.step(slice(None), [options["lr"]], step, step, measure=False)
            w1, b1, w2, b2 = values
            outputs = F.linear(F.relu(F.linear(inputs, w1, b1)), w2, b2)
            slopes = torch.autograd.grad(F.binary_cross_entropy_with_logits(outputs, targets), values)
            with torch.no_grad():
                for value, slope, average in zip(values, slopes, averages, strict=True):
                    average.mul_(0.9).add_(0.1 * slope)
                    decay = options.get("weight_decay", 0.0) * value
                    value.sub_(options["lr"] * (torch.sign(average) + decay))
            if run == 0:
                together.step(slice(None), [of["lr"] for of in settings], step, step, measure=False)
        for found in (model_of(engine), model_of(together, run)):
            for tensor, value in zip(found.values(), values, strict=True):
                torch.testing.assert_close(tensor, value.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("signum")
def test_an_optimizer_from_outside_is_saved_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs/optimizer").mkdir(parents=True)
    Path("configs/optimizer/signum.yaml").write_text("name: signum\nlr: 0.003\n")
    small = (
        *SMALL,
        "optimizer=signum",
        "trainer.batch_size=16",
        "run.tensorboard=false",
        "run.progress=none",
    )
    assert command(["train", *small, "run.dir=outputs/whole", "trainer.epochs=4"]) == 0
    assert command(["train", *small, "run.dir=outputs/parts", "trainer.epochs=2"]) == 0
    assert command(["resume", "outputs/parts", "trainer.epochs=4"]) == 0
    whole, parts = (content(RunFolder(Path("outputs", name)).last) for name in ("whole", "parts"))
    assert {name for name in parts["tensors"] if name.endswith("exp_avg")}
    for name in ("tensors", "scores", "progress"):
        assert parts[name] == whole[name]


@pytest.mark.usefixtures("signum")
def test_steps_of_an_optimizer_from_outside_are_not_compiled(refused: Refused) -> None:
    Path("configs/optimizer").mkdir(parents=True)
    Path("configs/optimizer/signum.yaml").write_text("name: signum\n")
    said = refused("train", *SMALL, "optimizer=signum", "trainer.compile=true", code=2)
    assert said == "trainer.compile=true: it does not know optimizer=signum; set trainer.compile=auto"


def test_errors_know_what_was_registered_later(own: Callable[[], None]) -> None:
    whole = to_dict(config())
    unknown = {**whole, "optimizer": {"name": "signumm"}}
    before = (
        "optimizer.name='signumm': must be one of adam, adamw, lbfgs, lion, muon, nadam, rmsprop, sgd "
        "(a plug-in's needs --plugin FILE)"
    )
    with pytest.raises(ConfigError) as caught:
        parse(unknown)
    assert caught.value.args == (before,)
    plugins.load([str(SIGNUM)])
    with pytest.raises(ConfigError) as caught:
        parse(unknown)
    assert caught.value.args == (
        "optimizer.name='signumm': must be one of adam, adamw, lbfgs, lion, muon, nadam, rmsprop, sgd, "
        "signum (a plug-in's needs --plugin FILE); did you mean signum?",
    )
    with pytest.raises(ConfigError) as caught:
        parse({**whole, "optimizer": {"name": "signum", "momenta": 1, "lr": 0}})
    assert caught.value.args == (
        "optimizer.lr=0: must be a number > 0 (learning rate; default 0.001)",
        "optimizer.momenta: unknown key; did you mean optimizer.momentum?",
    )
    assert "Signum" in json_schema()["$defs"]


class Counting(OptimizerConfig):
    """Moves all weights by the learning rate times the number of the step."""

    name: Literal["counting"]

    def slots(self) -> Slots:
        return {"step": "number", "last": "tensor"}

    def update(
        self, values: Tensor, gradients: Tensor, slots: Mapping[str, Tensor], lr: float | Tensor
    ) -> None:
        slots["step"].add_(1)
        slots["last"].copy_(gradients)
        values.sub_(lr * slots["step"])


def test_a_number_is_kept_once_for_all_tensors() -> None:
    values, slopes = [torch.zeros(3), torch.zeros(2)], [torch.ones(3), torch.full((2,), torch.nan)]
    tensors = {"last": [torch.zeros(3), torch.zeros(2)]}
    buffers = Buffers(values, slopes, tensors, {"step": torch.zeros(())})
    update = Update(Counting(name="counting", lr=1.0), buffers)
    for _ in range(2):
        update(0.5)
    assert int(buffers.numbers["step"]) == 2
    assert (values[0].tolist(), values[1].tolist()) == ([-1.5] * 3, [-1.5] * 2)
    assert tensors["last"][0].tolist() == [1.0] * 3


def test_float64_runs_save_numbers_of_any_name(
    own: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are float32 like Adam's step, which is no fault of a checkpoint."""

    @registry.choice("optimizer")
    class Named(Counting):
        name: Literal["named"]  # type: ignore[assignment]

        def slots(self) -> Slots:
            return {"times": "number", "last": "tensor"}

        def update(
            self, values: Tensor, gradients: Tensor, slots: Mapping[str, Tensor], lr: float | Tensor
        ) -> None:
            super().update(values, gradients, {"step": slots["times"], "last": slots["last"]}, lr)

    monkeypatch.chdir(tmp_path)
    Path("configs/optimizer").mkdir(parents=True)
    Path("configs/optimizer/named.yaml").write_text("name: named\n")
    small = (*SMALL, "optimizer=named", "run.tensorboard=false", "run.progress=none", "run.dir=outputs/it")
    assert command(["train", *small, "trainer.precision=float64", "trainer.epochs=1"]) == 0
    assert command(["resume", "outputs/it", "trainer.epochs=2"]) == 0


@pytest.mark.usefixtures("own")
def test_what_cannot_be_registered() -> None:
    class Adam(Counting):
        name: Literal["adam"]  # type: ignore[assignment]

    class Nameless(Section):
        lr: float

    class Spaced(Section):
        name: Literal["my optimizer"]

    for schema, group, line in (
        (Adam, "optimizer", "optimizer=adam is taken by mlpkit.optimizers.adam; choose another name"),
        (Nameless, "init", 'a choice needs a field such as name: Literal["my_init"]'),
        (Spaced, "optimizer", 'a choice needs a field such as name: Literal["my_optimizer"]'),
    ):
        with pytest.raises(ConfigError) as caught:
            registry.choice(group)(schema)
        where = f"{schema.__module__}.{schema.__qualname__}"
        assert caught.value.args == (f"{where}: {line}",)
    with pytest.raises(ConfigError) as caught:
        registry.choice("optimiser")
    assert caught.value.args == (
        'choice("optimiser"): no such group; choose one of dataset, model, loss, optimizer, scheduler, init, '
        "activation, logger, launcher, metric",
    )


@pytest.mark.usefixtures("own")
def test_a_dataset_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read("spirals")
    monkeypatch.chdir(tmp_path)
    write_yaml("dataset", "spirals")
    small = ("dataset=spirals", "dataset.n=60", "model.hidden=[4]", "run.tensorboard=false")
    assert command(["train", *small, "run.dir=outputs/it", "run.progress=none", "trainer.epochs=2"]) == 0
    assert command(["resume", "outputs/it", "trainer.epochs=3"]) == 0
    assert command(["evaluate", "outputs/it"]) == 0


@pytest.mark.long
@pytest.mark.usefixtures("own")
def test_a_dataset_from_outside_is_checked(refused: Refused) -> None:
    """Foreign configs may not ask for many rows of it, and its rows must be those of its input_schema."""
    read("spirals")
    spirals = registry.choices("dataset")["spirals"]

    @registry.choice("dataset")
    class Flat(spirals):  # type: ignore[misc, valid-type]
        name: Literal["flat"]

        def draw(self) -> tuple[Tensor, Tensor]:
            inputs, targets = super().draw()
            return inputs, targets.float()

    write_yaml("dataset", "flat")
    assert refused("train", "dataset=flat", "dataset.n=60", code=65) == (
        "dataset=flat: its targets must have shape (60,) and be torch.int64, not (60,) and torch.float32"
    )
    large = config("dataset=moons", "dataset.n=3000000").dataset
    with pytest.raises(DataError) as caught:
        Trust.FOREIGN.check_data(large, Path("best.safetensors"))
    assert "draws 6,000,000 numbers" in str(caught.value)


@pytest.mark.usefixtures("own")
def test_activations_from_outside(refused: Refused) -> None:
    read("hardswish")
    write = config(*SMALL, "model.norm=none")
    for name, kind, reason in (
        ("hardswish", "autograd", "for the Hardswish layers"),
        ("sine", "stacked", "linear layers, differentiated by hand"),
    ):
        whole = to_dict(write)
        engine = build([parse({**whole, "model": {**whole["model"], "activation": name}})])
        assert (engine.name, engine.reason) == (kind, reason)
    said = refused("train", "model.activation=sin", code=2)
    assert said == (
        "model.activation='sin': must be one of relu, leaky_relu, prelu, elu, gelu, silu, mish, selu, "
        'softplus, tanh, sigmoid, identity, hardswish, sine (function between the layers; default "relu") '
        "(a plug-in's needs --plugin FILE); "
        "did you mean sine?"
    )
    said = refused("train", *SMALL, "model.activation=hardswish", "trainer.engine=stacked", code=2)
    assert said == (
        "trainer.engine=stacked: the model has Hardswish layers, whose gradients are not derived by hand; "
        "set trainer.engine=auto"
    )
    said = refused("train", *SMALL, "model.activation=sine", "trainer.compile=true", code=2)
    assert said == "trainer.compile=true: it knows no Sine layers; set trainer.compile=auto"


@pytest.mark.usefixtures("own")
def test_an_activation_from_outside_has_the_gradients_of_autograd() -> None:
    read("hardswish")
    whole = to_dict(config(*SMALL, "trainer.precision=float64"))
    whole["model"]["activation"] = "sine"
    models = []
    for kind in KINDS[:2]:
        for engine in (
            engine_of(kind, configs=[parse(whole)]),
            engine_of(kind, configs=[parse(whole), parse({**whole, "seed": 1})]),
        ):
            for step in range(5):
                engine.step(slice(None), [0.01] * len(engine.optimizers.blocks), step, step, measure=False)
            models.append(model_of(engine, 0))
    for other in models[1:]:
        for name, values in models[0].items():
            torch.testing.assert_close(other[name], values, rtol=1e-9, atol=1e-12)


BATCH = "trainer.batch_size=16"
OWN_MODEL = (
    *("dataset=moons", "dataset.n=60", "model=residual", "run.plots=false"),
    *("run.tensorboard=false", "run.progress=none"),
)


@pytest.mark.long
@pytest.mark.usefixtures("own")
def test_a_model_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is saved, resumed to the bit though it drops units, looked at, and used."""
    read("residual")
    monkeypatch.chdir(tmp_path)
    write_yaml("model", "residual")
    before = torch.random.get_rng_state()
    assert command(["train", *OWN_MODEL, BATCH, "run.dir=outputs/whole", "trainer.epochs=4"]) == 0
    assert command(["train", *OWN_MODEL, BATCH, "run.dir=outputs/parts", "trainer.epochs=2"]) == 0
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)  # the global generator moves on
    assert command(["resume", "outputs/parts", "trainer.epochs=4"]) == 0
    whole, parts = (content(RunFolder(Path("outputs", name)).last) for name in ("whole", "parts"))
    for name in ("tensors", "scores", "progress"):
        assert parts[name] == whole[name]
    assert "model/layers.0.module.1.0.num_batches_tracked" in whole["tensors"]
    for also in ("evaluate", "inspect"):
        assert command([also, "outputs/whole"]) == 0
    predictor, stored = load_predictor(RunFolder(Path("outputs/whole")).last)
    split = load_dataset(stored.config.dataset).splits["val"]
    losses = predictor.losses(split.inputs, predictor.task.encode(split.targets, torch.float32))
    assert float(losses.mean()) == pytest.approx(stored.state.scores["val"]["loss"], rel=1e-5)


@pytest.mark.usefixtures("own")
def test_models_from_outside_beside_each_other() -> None:
    """Each of K runs draws its own units and keeps its own averages, as it does alone."""
    read("residual")
    whole = to_dict(config("dataset=moons", "dataset.n=60", "trainer.precision=float64"))
    configs = [parse({**whole, "model": {"name": "residual"}, "seed": seed}) for seed in range(3)]
    together = build(configs)
    for step in range(4):
        together.step(slice(None), [0.01] * len(together.optimizers.blocks), 0, step, measure=False)
    for run, each in enumerate(configs):
        alone = build([each])
        for step in range(4):
            alone.step(slice(None), [0.01], 0, step, measure=False)
        found, expected = together.state(run)["model"], alone.state(0)["model"]
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            torch.testing.assert_close(found[name], values, rtol=1e-9, atol=1e-12)


class Odd(ModelConfig):
    """A model that cannot be trained."""

    name: Literal["odd"]
    fault: Literal["width", "frozen", "tied", "empty", "half"]

    def build(self, features: int, width: int) -> torch.nn.Module:
        linear = torch.nn.Linear(features, width + (self.fault == "width"))
        if self.fault == "frozen":
            linear.bias.requires_grad_(False)
        if self.fault == "tied":
            return torch.nn.Sequential(linear, linear)
        if self.fault == "empty":
            return torch.nn.Identity()
        return linear.half() if self.fault == "half" else linear


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("width", "its module returns (2, 2) for inputs (2, 2), not (2, 1)"),
        ("frozen", "the parameter bias is frozen; make it a buffer"),
        ("tied", "the parameter 1.weight is shared with another; untie them"),
        ("empty", "its module has no parameters to train"),
        ("half", "weight is torch.float16; use float32, or int64 buffers"),
    ],
)
@pytest.mark.usefixtures("own")
def test_a_model_that_cannot_be_trained(fault: str, line: str) -> None:
    registry.choice("model")(Odd)
    whole = to_dict(config("dataset=moons"))
    with pytest.raises(ConfigError) as caught:
        build([parse({**whole, "model": {"name": "odd", "fault": fault}})])
    assert caught.value.args == (f"model=odd: {line}",)


@pytest.mark.usefixtures("own")
def test_one_row_and_init_of_a_model_from_outside(refused: Refused) -> None:
    read("residual")
    write_yaml("model", "residual")
    said = refused("train", *OWN_MODEL, "trainer.batch_size=5", code=2)
    assert said == (
        "trainer.batch_size=5: 36 training rows leave a batch of one row, and its batch norm needs two; "
        "change the batch size"
    )
    said = refused("train", *OWN_MODEL, "init=zeros", code=2)
    assert said == "init=zeros: model=residual draws its own weights; set init=default"
