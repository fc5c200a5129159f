"""mlpkit fit: a cross-validation against a linear model and a constant, and the best model on all rows."""

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Refused
from running import mlpkit, train
from sklearn.metrics import accuracy_score, log_loss, r2_score
from tables import customers, write_csv

from mlpkit.analysis.fit import Candidate, judge
from mlpkit.analysis.out_of_fold import OutOfFold, predict_out_of_fold
from mlpkit.cli.fit import RECIPE, candidate_of
from mlpkit.cli.main import run as command
from mlpkit.config.config import Config
from mlpkit.data.table_options import TableOptions
from mlpkit.folders import checkpoint
from mlpkit.folders.found_runs import find_runs
from mlpkit.folders.indexed_results import results_below
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.plain_json import read_object
from mlpkit.tasks import TASKS

SHORT = ("trainer.epochs=4",)


def out_of_fold(folder: Path) -> dict[str, list[OutOfFold]]:
    """Return what each model of a fit predicts."""
    sweep = next(path for path in folder.glob("outputs/*/sweep-*") if "+" in path.parent.name)
    runs = results_below([sweep], print)
    names = dict.fromkeys(map(candidate_of, runs))
    return {
        name: predict_out_of_fold(sweep, [run for run in runs if candidate_of(run) == name], "best", print)
        for name in names
    }


def normalized(probabilities: torch.Tensor) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """Return float32 probabilities with sums of 1 in float64, which scikit-learn asks for."""
    exact = probabilities.double()
    return (exact / exact.sum(1, keepdim=True)).numpy()


def by_name(found: dict[str, list[OutOfFold]]) -> dict[str, Candidate]:
    """Return the candidates by name."""
    return {candidate.name: candidate for candidate in judge(found).candidates}


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which a table was fitted, and what was printed."""
    folder = tmp_path_factory.mktemp("fit")
    write_csv(folder / "churn.csv", customers(200))
    words = ("churn.csv", "--target", "churned", "--folds", "2", "--seeds", "2")
    return folder, mlpkit("fit", *words, "trainer.epochs=15", "model.hidden=[8]", cwd=folder).stdout


def test_scores_are_those_of_scikit_learn(churn: tuple[Path, str]) -> None:
    found = out_of_fold(churn[0])
    candidates = by_name(found)
    assert sorted(candidates) == ["experiment=table", "logistic", "majority", "mlp", "mlp ensemble"]
    true = found["mlp"][0].targets.numpy()
    for name in ("logistic", "mlp"):
        each = [of.predictions().probabilities for of in found[name]]
        losses = [log_loss(true, normalized(p)) for p in each if p is not None]
        assert candidates[name].loss == pytest.approx(np.mean(losses), rel=1e-5)
        right = [accuracy_score(true, of.predictions().values) for of in found[name]]
        assert candidates[name].accuracy == pytest.approx(np.mean(right))
    members = [of.predictions().probabilities for of in found["mlp"]]
    mean = torch.stack([p for p in members if p is not None]).mean(0)
    assert candidates["mlp ensemble"].loss == pytest.approx(log_loss(true, normalized(mean)), rel=1e-5)
    assert candidates["mlp ensemble"].members == 2


def test_the_constant_is_the_class_shares_of_the_other_folds(churn: tuple[Path, str]) -> None:
    of = out_of_fold(churn[0])["mlp"][0]
    losses = []
    for fold, label in zip(of.folds.tolist(), of.targets.tolist(), strict=True):
        others = of.targets[of.folds != fold]
        share = (int((others == label).sum()) + 1) / (len(others) + 2)
        losses.append(-math.log(share))
    assert by_name({"mlp": [of]})["majority"].loss == pytest.approx(np.mean(losses))


def test_the_best_is_trained_on_all_rows_and_predicts_as_printed(churn: tuple[Path, str]) -> None:
    folder, printed = churn
    winner = judge(out_of_fold(folder)).winner
    line = next(line for line in printed.splitlines() if line.startswith("  mlpkit predict "))
    assert f"{winner.name} is better than predicting the majority" in printed
    words = line.split()[1:]
    words[words.index("NEW.csv")] = "churn.csv"
    assert mlpkit(*words, cwd=folder).returncode == 0
    runs = sorted(path for path in (folder / words[1]).iterdir() if path.is_dir())
    assert len(runs) == winner.members
    for run in runs:
        stored = checkpoint.load(RunFolder(run).best)
        is_recipe = winner.model == RECIPE  # whose networks each leave out an eighth of the rows
        assert getattr(stored.config.dataset, "fold", 0) == (None if is_recipe else "none")
        assert "test" not in read_object(RunFolder(run).summary)
    with (folder / "predictions.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 200


def test_it_ends_with_a_report_that_can_be_written_again(churn: tuple[Path, str]) -> None:
    """With the table and the verdict as printed, the warnings, and the trained model."""
    folder, printed = churn
    (line,) = (line for line in printed.splitlines() if line.startswith("report: "))
    report = folder / line.removeprefix("report: ")
    html = report.read_text(encoding="utf-8")
    assert "How mlpkit fit chose" in html and "It predicts churned" in html
    for row in printed.split("\n\nmodel ")[1].split("\n\n")[0].splitlines()[1:]:
        assert re.split(r"  +", row)[1] in html
    assert "is better than predicting the majority" in html
    report.unlink()
    assert mlpkit("report", str(report.parent), cwd=folder).stdout == f"{report}\n"
    assert "is better than predicting the majority" in report.read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.parametrize("dataset", ["diabetes", "iris"])
def test_other_tasks(dataset: str, tmp_path: Path) -> None:
    place = f"run.root={tmp_path}/outputs"
    assert command(["fit", f"dataset={dataset}", "--folds=2", "--seeds=1", place, *SHORT]) == 0
    found = out_of_fold(tmp_path)
    candidates = by_name(found)
    for name, (of,) in found.items():
        predictions = of.predictions()
        if dataset == "diabetes":
            assert 1 - candidates[name].loss == pytest.approx(
                r2_score(of.targets, predictions.values), rel=1e-6
            )
        else:
            assert predictions.probabilities is not None
            loss = log_loss(of.targets, normalized(predictions.probabilities))
            assert candidates[name].loss == pytest.approx(loss, rel=1e-5)
    if dataset == "diabetes":
        assert 1 - candidates["mean"].loss == pytest.approx(0, abs=0.02)


@pytest.mark.long
def test_columns_that_say_nothing_of_the_target_are_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(1)
    rows = [{"x": f"{x:.3f}", "y": f"{y:.3f}"} for x, y in random.normal(size=(400, 2))]
    path = write_csv(tmp_path / "noise.csv", rows)
    assert command(["fit", str(path), "--target", "y", "--folds=2", "--seeds=1", *SHORT]) == 0
    assert "is not shown to be better than predicting the mean" in capsys.readouterr().out


def test_what_cannot_be_fitted_is_refused(refused: Refused) -> None:
    assert refused("fit", "dataset=moons", code=2) == (
        "fit: dataset=moons is not a table; use mlpkit train for it"
    )
    assert refused("fit", "dataset=iris", "seed=1", code=2) == "fit: seed=1: use --seeds N"
    by_time = ("dataset.split.by=time", "dataset.split.column=age")
    assert refused("fit", "dataset=iris", *by_time, code=2).startswith(
        "fit: dataset.split.by=time has no folds, in which fit compares models; set random, "
    )
    assert refused("train", "-m", "dataset=iris", *by_time, "dataset.fold=range(5)", code=2).startswith(
        "dataset: fold=0: rows are split by time, which has no folds; "
    )
    assert refused("fit", "none.csv", "--target=y", code=65).endswith(
        "none.csv: no such file; check the path"
    )


def test_nothing_is_judged_by_the_rows_that_chose_it_or_by_equal_targets(
    refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"x": f"{x:.3f}", "y": "3.5"} for x in np.random.default_rng(0).normal(size=60)]
    path = str(write_csv(Path("same.csv"), rows))
    assert command(["fit", path, "--target=y"]) == 65
    assert capsys.readouterr().err.endswith("there is nothing to predict\n")
    assert refused("fit", "dataset=iris", "dataset.val_fraction=0", code=2).startswith(
        "fit: dataset.val_fraction=0: "
    )


@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass"])
def test_an_ensemble_has_the_mean_of_the_probabilities(task: str) -> None:
    outputs = 4 * torch.randn(5, 7, 1 if task == "binary" else 3, generator=torch.Generator().manual_seed(0))
    probabilities = TASKS[task].probabilities
    assert probabilities is not None
    wanted = torch.stack([probabilities(each.double()) for each in outputs]).mean(0)
    torch.testing.assert_close(probabilities(TASKS[task].average(outputs)).double(), wanted)
    huge = torch.full((2, 1, 3 if task != "binary" else 1), 200.0)
    assert TASKS[task].average(huge).isfinite().all()


def test_predict_averages_the_seeds_of_a_sweep(refused: Refused, capsys: pytest.CaptureFixture[str]) -> None:
    few = ("dataset=moons", "model=mlp", "trainer.epochs=3", "run.plots=false", "run.loggers=[]")
    assert command(["train", "-m", *few, "seed=0,1,2", "run.dir=sweep"]) == 0
    values = ("--values", "0.3,0.5", "--output")
    found = []
    for place in ("sweep", *sorted(str(path) for path in Path("sweep").iterdir() if path.is_dir())):
        ensemble = ["--ensemble"] if place == "sweep" else []
        assert command(["predict", place, *ensemble, *values, "out.csv"]) == 0
        with Path("out.csv").open() as stream:
            found.append(float(next(csv.DictReader(stream))["p(lower)"]))
    assert len(found) == 4 and found[0] == pytest.approx(np.mean(found[1:]), abs=1e-6)
    assert command(["predict", "sweep", "--ensemble", "--spread", *values, "out.csv"]) == 0
    with Path("out.csv").open() as stream:
        apart = float(next(csv.DictReader(stream))["spread"])
    assert apart == pytest.approx(np.std(found[1:], ddof=1), abs=1e-6)
    capsys.readouterr()
    assert refused("predict", "sweep", "--ensemble", "--out-of-fold", code=2).startswith("--ensemble: ")
    run = str(next(path for path in Path("sweep").iterdir() if path.is_dir()))
    assert refused("predict", run, "--ensemble", "--values", "0,0", code=2).startswith("--ensemble: ")
    assert refused("predict", run, "--spread", "--values", "0,0", code=2).startswith("--spread: ")


def test_evaluate_scores_the_seeds_of_a_sweep_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ("dataset=moons", "dataset.noise=0.5", "model=mlp", "trainer.epochs=9", "run.plots=false")
    assert command(["train", "-m", *few, "seed=0,1,2", "run.dir=sweep"]) == 0
    assert command(["predict", "sweep", "--ensemble", "--split", "test", "--output", "p.csv"]) == 0
    with Path("p.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    capsys.readouterr()
    assert command(["evaluate", "sweep", "--ensemble"]) == 0
    printed, said = capsys.readouterr()
    assert said == "ensemble of 3 runs: sweep\n"
    title, scores = printed.splitlines()[:2]
    assert title.startswith("ensemble of 3, 100 rows ")
    true = [row["true"] == "lower" for row in rows]
    accuracy = np.mean([row["class"] == row["true"] for row in rows])
    loss = log_loss(true, [float(row["p(lower)"]) for row in rows])
    assert scores.split() == ["test", f"{loss:.4f}", f"{accuracy:.4f}"]
    write_csv(
        Path("t.csv"),
        [{"a": "xyz"[n % 3], "b": "uv"[n % 2], "y": ["no", "yes"][n % 5 < 3]} for n in range(90)],
    )
    folds = ("data=t.csv", "target=y", "dataset.fold=0,1", "run.dir=folds")
    assert command(["train", "-m", *folds, "model=mlp", "trainer.epochs=2", "run.plots=false"]) == 0
    capsys.readouterr()
    assert command(["evaluate", "folds", "--ensemble"]) == 2
    assert "--ensemble: the runs were trained on different rows, " in capsys.readouterr().err


def test_models_of_different_folds_are_no_ensemble(
    churn: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = next(path for path in churn[0].glob("outputs/*/sweep-*") if "+" in path.parent.name)
    assert command(["predict", str(sweep), "--ensemble", "--input", str(churn[0] / "churn.csv")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("mlpkit: --ensemble: the runs read their inputs in different ways")


def test_training_ends_at_its_time_limit(tmp_path: Path) -> None:
    folder = train(tmp_path, "dataset=moons", "model=mlp", "trainer.time_limit=1e-6", "run.plots=false")
    summary = read_object(folder.summary)
    assert (summary["epochs"], summary["status"]) == (1, "stopped early")


def is_of_a_fold(config: Config) -> bool:
    """Whether a run is part of the cross-validation."""
    return isinstance(config.dataset, TableOptions) and isinstance(config.dataset.fold, int)


@pytest.mark.long
def test_the_time_limit_includes_what_is_not_training(tmp_path: Path) -> None:
    """The share of each training is counted from what is left after the table was read."""
    words = ("fit", "dataset=iris", "--folds=2", "--seeds=1", "--time-limit=16", f"run.root={tmp_path}")
    assert command([*words, *SHORT]) == 0
    configs = [checkpoint.load(RunFolder(run).last).config for run in find_runs([tmp_path], print)]
    limits = [config.trainer.time_limit for config in configs if is_of_a_fold(config)]
    assert all(limit is not None and 0 < limit < 16 for limit in limits)
    assert len(set(limits)) == 2 and min(filter(None, limits)) < 1.0  # the recipe has a part of its own


@pytest.mark.long
def test_the_last_training_is_no_shorter_than_those_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("fit", "dataset=diabetes", "--folds=2", "--seeds=1", "--time-limit=1", f"run.root={tmp_path}")
    assert command(list(words)) == 0
    assert "--time-limit=1 ended the training of " in capsys.readouterr().err
    runs = [
        (checkpoint.load(RunFolder(run).last).config, read_object(RunFolder(run).summary))
        for run in find_runs([tmp_path], print)
    ]
    (last,) = (each for each in runs if not is_of_a_fold(each[0]))
    if last[0].model.members > 1:
        before = [s["train_seconds"] for c, s in runs if c.model.members > 1 and is_of_a_fold(c)]
        assert last[0].trainer.time_limit >= 2 * max(before)
    else:
        assert last[0].trainer.time_limit is None
        assert (last[1]["status"], last[1]["epochs"]) == ("done", last[0].trainer.epochs)
