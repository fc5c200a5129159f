"""Metrics of plug-ins: one more score of each split, wherever scores are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from conftest import Refused
from running import config
from sklearn.metrics import mean_absolute_percentage_error, recall_score
from torch import Tensor

from mlpkit.analysis.predict import load_predictor
from mlpkit.cli.main import run as command
from mlpkit.config import plugins, registry
from mlpkit.config.config import parse, to_dict
from mlpkit.config.metric import MetricConfig
from mlpkit.data.load import load_dataset
from mlpkit.errors import ConfigError
from mlpkit.folders.run_folder import RunFolder
from mlpkit.training.build import build

SMALL = ("dataset=moons", "dataset.n=100", "dataset.noise=0.4", "model.hidden=[3]", "run.plots=false")
QUICK = (
    *SMALL,
    "optimizer.lr=0.1",
    "run.tensorboard=false",
    "run.progress=none",
    "trainer.epochs=3",
    "run.metrics=[specificity]",
)


@pytest.fixture
def specificity(own: Callable[[], None]) -> None:
    plugins.load([str(Path(__file__).with_name("extending") / "specificity.py")])


def scores_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.long
@pytest.mark.usefixtures("specificity")
def test_it_is_scikit_learns_wherever_scores_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["train", *QUICK, "run.dir=it"]) == 0
    lines = scores_of(Path("it"))
    assert len(lines) == 3 * 2 + 1
    assert all(0 <= line["specificity"] <= 1 for line in lines)
    assert json.loads(Path("it/summary.json").read_text())["test"]["specificity"] == lines[-1]["specificity"]
    predictor, stored = load_predictor(RunFolder(Path("it")).last)
    for name, split in load_dataset(stored.config.dataset).splits.items():
        expected = recall_score(split.targets, predictor.predict(split.inputs).values, pos_label=0)
        found = json.loads(Path("it/summary.json").read_text())[name]["specificity"]
        assert found == pytest.approx(expected)
        capsys.readouterr()
        assert command(["evaluate", "it", "--checkpoint", "last", "--split", name]) == 0
        printed = capsys.readouterr().out
        assert "specificity" in printed.splitlines()[0]
        assert f"{expected:.4f}" in printed.splitlines()[1]
    assert command(["resume", "it", "trainer.epochs=4"]) == 0
    assert command(["compare", "it", "--metric", "specificity"]) == 0


@pytest.mark.long
@pytest.mark.usefixtures("specificity")
def test_runs_of_one_program_have_the_values_that_each_has_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seeds = "dataset.seed=0,1,2"
    assert command(["train", "-m", *QUICK, seeds, "trainer.batch_size=16", "run.name=many"]) == 0
    many = sorted(path.parent for path in Path("outputs/many").rglob("metrics.jsonl"))
    for seed, folder in enumerate(many):
        alone = f"run.dir=outputs/one/{seed}"
        assert command(["train", *QUICK, f"dataset.seed={seed}", "trainer.batch_size=16", alone]) == 0
        found, expected = scores_of(folder), scores_of(Path("outputs/one", str(seed)))
        assert [line["specificity"] for line in found] == [line["specificity"] for line in expected]
    assert len(many) == 3


class Relative(MetricConfig):
    """A metric for regression, where lower is better."""

    name: Literal["relative"]
    tasks = ("regression",)
    higher_is_better = False

    def score(self, predictions: Tensor, probabilities: Tensor | None, targets: Tensor) -> float:
        assert probabilities is None
        return float(((predictions - targets) / targets).abs().mean())


class Lost(MetricConfig):
    """A metric that is no number."""

    name: Literal["lost"]
    higher_is_better = True

    def score(self, predictions: Tensor, probabilities: Tensor | None, targets: Tensor) -> float:
        return float("nan")


class Accuracy(Lost):
    """A metric with a name that is taken."""

    name: Literal["accuracy"]  # type: ignore[assignment]


@pytest.mark.usefixtures("own")
def test_values_of_a_regression_are_in_the_targets_unit() -> None:
    registry.choice("metric")(Relative)
    whole = to_dict(config("dataset=line", "dataset.standardize=true", "model=linear"))
    engine = build([parse({**whole, "run": {**whole["run"], "metrics": ["relative"]}})])
    val, network = engine.experiments[0].dataset.splits["val"], engine.experiments[0].network
    with torch.no_grad():
        expected = mean_absolute_percentage_error(val.targets, network(val.inputs))
    assert engine.scores(engine.evaluate("val"), "val")["relative"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("specificity")
def test_what_cannot_be_used(refused: Refused) -> None:
    for schema in (Relative, Lost, Accuracy):
        registry.choice("metric")(schema)
    for name, said in (
        ("relative", "run.metrics=relative: it is for regression, dataset=moons is binary; leave it out"),
        ("accuracy", "run.metrics=accuracy: mlpkit logs something of this name; rename the metric"),
    ):
        assert refused("train", *SMALL, f"run.metrics=[{name}]", code=2) == said
    assert "did you mean specificity?" in refused("train", *SMALL, "run.metrics=[specificty]", code=2)
    said = refused("train", *SMALL, "run.metrics=[specificity]", "trainer.compile=true", code=2)
    assert said == "trainer.compile=true: it does not compute run.metrics; set trainer.compile=auto"
    whole = to_dict(config(*SMALL))
    with pytest.raises(ConfigError) as caught:
        build([parse({**whole, "run": {**whole["run"], "metrics": ["lost"]}})])
    assert caught.value.args == ("run.metrics=lost: its value is nan for the rows of train; leave it out",)


def test_without_its_plugin_there_is_none(refused: Refused) -> None:
    said = refused("train", *SMALL, "run.metrics=[specificity]", code=2)
    assert said.startswith("run.metrics: 'specificity': must be one of average_precision, ")
    assert said.endswith(" (a plug-in's needs --plugin FILE)")
