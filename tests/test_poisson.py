"""loss=poisson: counts, against scikit-learn's PoissonRegressor, and in every command."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Refused
from engines import KINDS, Kind, engine_of, evaluated, model_of
from running import config, train
from sklearn.linear_model import PoissonRegressor
from torch import nn

from mlpkit.analysis.predict import Ensemble, load_predictor
from mlpkit.cli.main import run as command
from mlpkit.data.load import load_dataset

COUNTS = ("dataset=table", "dataset.path=calls.csv", "dataset.target=calls", "dataset.task=regression",
          "loss=poisson", "model=linear")  # fmt: skip
SHORT = ("trainer.epochs=5", "run.loggers=[]", "run.plots=false")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a table of counts whose mean is far from 1."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 2))
    counts = random.poisson(np.exp(3 + 0.8 * x[:, 0] - 0.5 * x[:, 1]))
    with Path("calls.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("a", "b", "calls"), *zip(*x.T.tolist(), counts.tolist(), strict=True)])
    return Path("calls.csv")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("standardize", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_linear_model_is_scikit_learns(calls: Path, standardize: bool, kind: Kind) -> None:
    chosen = (*COUNTS, "trainer.precision=float64", "trainer.batch_size=full", "optimizer=adam")
    engine = engine_of(kind, *chosen, f"dataset.standardize={str(standardize).lower()}")
    for step in range(3000):
        lr = 0.1 * 0.997**step
        assert engine.step(slice(None), [lr], step, step, False) == {}
    experiment = engine.experiments[0]
    rows = experiment.dataset.splits["train"]
    y = rows.targets[:, 0].double()
    fitted = PoissonRegressor(alpha=0, tol=1e-12, solver="newton-cholesky").fit(rows.inputs.double(), y)
    for name, split in experiment.dataset.splits.items():
        with torch.no_grad():
            found = experiment.network(split.inputs.double())[:, 0].numpy()
        np.testing.assert_allclose(found, fitted.predict(split.inputs.double()), rtol=1e-5)
        mean = float(y.mean()) if standardize else 1.0
        rates = torch.tensor(found)
        expected = nn.PoissonNLLLoss(log_input=False, eps=0)(
            rates / mean, split.targets[:, 0].double() / mean
        )
        assert evaluated(engine, name)["loss"] == pytest.approx(float(expected), rel=1e-6)
    assert float(model_of(engine)["unscaling.std"]) == 1


@pytest.mark.long
def test_a_run_predicts_rates_everywhere(calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(Path("outputs"), *COUNTS, "run.loggers=[]", "trainer.epochs=30", "optimizer.lr=0.03")
    assert list(folder.path.glob("plots/*"))
    predictor, stored = load_predictor(folder.last)
    split = load_dataset(stored.config.dataset).splits["val"]
    values = predictor.predict(split.inputs).values
    assert bool((values > 0).all())
    losses = predictor.losses(split.inputs, split.targets)
    assert float(losses.mean()) == pytest.approx(stored.state.scores["val"]["loss"], rel=1e-5)
    torch.testing.assert_close(Ensemble([predictor, predictor]).losses(split.inputs, split.targets), losses)
    capsys.readouterr()
    for words in (["evaluate"], ["evaluate", "--input", "calls.csv"], ["predict", "--input", "calls.csv"]):
        assert command([words[0], str(folder.path), *words[1:]]) == 0
    assert command(["inspect", str(folder.path)]) == 0
    assert "log(calls): a" in capsys.readouterr()[0]
    text = calls.read_text().splitlines()
    calls.write_text("\n".join([*text[:3], "0.1,0.2,-4", *text[4:]]) + "\n")
    assert command(["evaluate", str(folder.path), "--input", "calls.csv"]) == 65
    assert "takes targets of at least 0, such as counts, and the data has -4" in capsys.readouterr()[1]


def test_counts_of_0_alone_are_trained(calls: Path) -> None:
    text = calls.read_text().splitlines()
    calls.write_text("\n".join([text[0], *(line.rpartition(",")[0] + ",0" for line in text[1:])]) + "\n")
    folder = train(Path("outputs"), *COUNTS, *SHORT)
    predictor, _ = load_predictor(folder.last)
    assert bool(predictor.predict(torch.zeros(1, 2)).values.isfinite().all())


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (
            ("dataset=line", "model=linear"),
            65,
            "loss=poisson: takes targets of at least 0, such as counts, and",
        ),
        (("dataset=moons",), 2, "loss=poisson: dataset=moons is a binary classification; use loss="),
        (
            ("dataset=diabetes", "model=linear", "dataset.target_transform=log"),
            2,
            "dataset.target_transform=log: loss=poisson takes the targets as they are; leave it out",
        ),
    ],
)
def test_poisson_is_refused(options: Any, code: int, said: str, refused: Refused) -> None:
    assert said in refused("train", *options, "loss=poisson", code=code)


def test_runs_of_several_folds_are_trained_together(calls: Path) -> None:
    """Each fold's targets have another mean."""
    configs = [config(*COUNTS, f"dataset.fold={fold}", "trainer.batch_size=64") for fold in range(3)]
    datasets = [load_dataset(of.dataset) for of in configs]
    together = engine_of(KINDS[1], configs=configs, datasets=datasets)
    alone = [engine_of(KINDS[1], configs=[of], datasets=[d]) for of, d in zip(configs, datasets, strict=True)]
    for engine in (together, *alone):
        for step, rows in enumerate(engine.rows_of_steps(0, 0)):
            engine.step(rows, [0.01], 0, step, False)
    for run, engine in enumerate(alone):
        torch.testing.assert_close(model_of(together, run), model_of(engine), rtol=1e-5, atol=1e-6)
        for score, values in evaluated(together, "val").items():
            assert float(values[run]) == pytest.approx(float(evaluated(engine, "val")[score]), rel=1e-4)
