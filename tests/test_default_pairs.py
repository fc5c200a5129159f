"""A first `mlpkit train dataset=X model=Y` reaches a sensible fit, and nothing is to be mended."""

import json
from pathlib import Path

import pytest
import torch
from real_data import needs_real_data, real_data
from running import config, train

from mlpkit.analysis.baselines import linear_outputs, scores_of_outputs
from mlpkit.cli.compose import Request, explain
from mlpkit.cli.main import run as command
from mlpkit.config.config import Config, to_dict
from mlpkit.data.load import load_dataset
from mlpkit.folders.run_folder import RunFolder
from mlpkit.tasks import TASKS

BARE = ("run.plots=false", "run.loggers=[]")
PAIRS = {  # the least score on test of the best epoch: accuracy, or R²
    ("sum", "linear"): 0.999,
    ("sum", "mlp"): 0.999,
    ("line", "linear"): 0.92,
    ("line", "mlp"): 0.9,
    ("moons", "logistic"): 0.855,
    ("moons", "mlp"): 0.98,
    ("diabetes", "linear"): 0.35,
    ("diabetes", "mlp"): 0.35,
    ("iris", "logistic"): 0.93,
    ("iris", "mlp"): 0.93,
    ("wine", "logistic"): 0.97,
    ("wine", "mlp"): 0.97,
    ("breast_cancer", "logistic"): 0.95,
    ("breast_cancer", "mlp"): 0.95,
    ("digits", "logistic"): 0.95,
    ("digits", "mlp"): 0.94,
}
TRUE = {("line", "mlp"): ["overfitting"]}  # 4,353 parameters for 60 rows


def reached(folder: RunFolder) -> float:
    best = json.loads(folder.summary.read_text())["best"]["test"]
    return float(best["accuracy"] if "accuracy" in best else best["r2"])


def findings(folder: RunFolder) -> list[str]:
    return [line.partition(":")[0] for line in folder.log.read_text().splitlines() if "; try " in line]


@pytest.mark.sampled(12)
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_pair_reaches_a_sensible_fit(pair: tuple[str, str], tmp_path: Path) -> None:
    folder = train(tmp_path, f"dataset={pair[0]}", f"model={pair[1]}", *BARE)
    assert reached(folder) >= PAIRS[pair]
    assert findings(folder) == TRUE.get(pair, [])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["sum", "line"])
def test_a_linear_model_is_as_good_as_least_squares(name: str, tmp_path: Path) -> None:
    """It reaches R² > 0.99 of theirs on test."""
    folder = train(tmp_path, f"dataset={name}", "model=linear", *BARE)
    dataset, task = load_dataset(config(f"dataset={name}").dataset), TASKS["regression"]
    test = dataset.splits["test"]
    exact = linear_outputs(task, dataset.splits["train"], test.inputs, 1)
    assert exact is not None
    assert reached(folder) > 0.99 * scores_of_outputs(task, exact.double(), test.targets)["r2"]


@pytest.mark.long
@pytest.mark.parametrize("model", ["logistic", "mlp"])
def test_a_table_with_gaps_and_categories(model: str, tmp_path: Path) -> None:
    """Like the penguins: numbers of several sizes, a category, missing values."""
    draws = torch.Generator().manual_seed(0)
    lines = ["island,bill,flipper,mass,species"]
    for row in range(300):
        kind = row % 3
        bill, flipper, mass = torch.randn(3, generator=draws).tolist()
        island = "ABC"[kind] if row % 5 else "A"
        bill_text = "" if row % 50 == 7 else f"{39 + 5 * kind + 2.5 * bill:.1f}"
        size = f"{190 + 12 * kind + 6 * flipper:.0f},{3700 + 500 * kind + 400 * mass:.0f}"
        lines.append(f"{island},{bill_text},{size},s{kind}")
    (tmp_path / "birds.csv").write_text("\n".join(lines) + "\n")
    table = ("dataset=table", f"dataset.path={tmp_path}/birds.csv", "dataset.target=species")
    folder = train(tmp_path, *table, f"model={model}", *BARE)
    assert reached(folder) > 0.9
    assert findings(folder) == []


@needs_real_data
@pytest.mark.slow
@pytest.mark.parametrize(("model", "least"), [("logistic", 0.915), ("mlp", 0.97)])
def test_mnist(model: str, least: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPKIT_DATA", str(real_data()))
    folder = train(tmp_path, "dataset=mnist", f"model={model}", *BARE)
    assert reached(folder) > least
    assert findings(folder) in (
        [[], ["overfitting"]] if model == "mlp" else [[]]
    )  # its val loss rises by 1 %


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("overrides", "lr", "source"),
    [
        (("dataset=line", "model=linear"), 0.03, "adam.yaml (auto: a model of one layer has no bad minima"),
        (("dataset=iris", "model=logistic", "optimizer=adamw"), 0.03, "adamw.yaml (auto: a model of one la"),
        (("dataset=mnist", "model=logistic"), 0.001, "adam.yaml (auto: hundreds of inputs add up"),
        (("dataset=moons", "model=mlp"), 0.001, "adam.yaml (auto: Adam's usual one)"),
        (("dataset=line", "model=linear", "optimizer=sgd"), 0.001, "sgd.yaml"),
        (("experiment=sum",), 0.1, "configs/experiment/sum.yaml"),
        (("model=logistic", "optimizer.lr=0.5"), 0.5, "command line: optimizer.lr=0.5"),
        (
            ("dataset=line", "model=linear", "optimizer.lr=auto"),
            0.03,
            "command line: optimizer.lr=auto (auto: a",
        ),
        (("dataset=line", "model=linear", "~optimizer.lr"), 0.03, "command line: ~optimizer.lr (auto: a"),
    ],
)
def test_the_lr_and_its_reason(overrides: tuple[str, ...], lr: float, source: str) -> None:
    found = config(*overrides)
    assert found.optimizer.lr == lr
    rows = explain(Request(overrides), to_dict(found))
    assert source in next(row[2] for row in rows if row[0] == "optimizer.lr")


def test_a_file_of_ones_own_keeps_its_lr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs/optimizer").mkdir(parents=True)
    (tmp_path / "configs/optimizer/mine.yaml").write_text("defaults: [adam]\nlr: 0.2\n")
    assert config("dataset=line", "model=linear", "optimizer=mine").optimizer.lr == 0.2


def test_each_run_of_a_sweep_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    swept = ("dataset=moons", "model=logistic,mlp", "optimizer.lr=auto,0.5", "trainer.epochs=1")
    assert command(["train", "-m", *swept, *BARE, "run.progress=none", "run.dir=sweep"]) == 0
    from mlpkit.folders.results import read_config

    configs: list[Config] = [
        read_config(RunFolder(path.parent)) for path in tmp_path.glob("sweep/*/config.yaml")
    ]
    assert sorted((of.model.name, of.optimizer.lr) for of in configs) == [
        ("logistic", 0.03),
        ("logistic", 0.5),
        ("mlp", 0.001),
        ("mlp", 0.5),
    ]
