"""`mlpkit calibrate`: the temperature has the smallest log loss, and everything that predicts uses it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Refused
from exporting import export
from running import config, content, train
from scipy.optimize import minimize_scalar
from scipy.special import expit, softmax
from sklearn.metrics import log_loss

import mlpkit
from mlpkit.analysis.calibration import fit_temperature
from mlpkit.analysis.predict import load_predictor, make_predictor
from mlpkit.cli.main import run as command
from mlpkit.data.load import load_dataset
from mlpkit.errors import DataError
from mlpkit.folders import checkpoint
from mlpkit.sklearn import MLPClassifier
from mlpkit.tasks import TASKS

NOISY = ("dataset=moons", "dataset.noise=0.5", "dataset.n=200", "dataset.val_fraction=0.4", "model=mlp")
QUICK = ("optimizer.lr=0.05", "run.plots=false", "run.loggers=[]")
ROWS = torch.randn(50, 2, generator=torch.Generator().manual_seed(1)).numpy()


def drawn(task: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits that are 2.5 times too large, and targets."""
    random = np.random.default_rng(0)
    z = random.normal(size=(400, {"binary": 1, "multiclass": 4, "multilabel": 3}[task]))
    if task == "multiclass":
        y = np.array([random.choice(4, p=p) for p in softmax(z, 1)])
        return torch.tensor(2.5 * z), torch.tensor(y)
    labels = random.random(z.shape) < expit(z)
    y = labels[:, 0].astype(int) if task == "binary" else labels.astype(np.float32)
    return torch.tensor(2.5 * z), torch.tensor(y)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_the_temperature_has_the_smallest_log_loss(task: str, weighted: bool) -> None:
    z, y = drawn(task)
    weights = np.random.default_rng(3).random(len(z)) if weighted else np.ones(len(z))
    logits, true = z.numpy(), y.numpy()

    def loss(t: float) -> float:
        if task == "multilabel":
            each = [log_loss(true[:, n], expit(logits[:, n] / t), sample_weight=weights) for n in range(3)]
            return float(np.mean(each))
        p = softmax(logits / t, 1) if task == "multiclass" else expit(logits[:, 0] / t)
        return float(log_loss(true, p, sample_weight=weights))

    expected = minimize_scalar(loss, bounds=(0.1, 20), method="bounded", options={"xatol": 1e-9}).x
    found = fit_temperature(TASKS[task], z[None], y, torch.tensor(weights) if weighted else None)
    assert found == pytest.approx(expected, rel=1e-5)
    assert 2 < found < 3.2


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_the_temperature_of_an_ensemble_is_that_of_its_mean_probabilities(task: str) -> None:
    z, y = drawn(task)
    noise = torch.randn(5, *z.shape, generator=torch.Generator().manual_seed(2), dtype=z.dtype)
    each, true = z + 3 * noise, y.numpy()

    def loss(t: float) -> float:
        scaled = (each / t).numpy()
        p = softmax(scaled, 2).mean(0) if task == "multiclass" else expit(scaled[..., 0]).mean(0)
        return float(log_loss(true, p))

    expected = minimize_scalar(loss, bounds=(0.1, 20), method="bounded", options={"xatol": 1e-9}).x
    assert fit_temperature(TASKS[task], each, y) == pytest.approx(expected, rel=1e-5)
    alone = [fit_temperature(TASKS[task], one[None], y) for one in each]
    assert expected < 0.8 * min(alone)


def test_rows_that_have_no_temperature_are_refused() -> None:
    z, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1])
    with pytest.raises(DataError, match="too few errors to fit a temperature"):
        fit_temperature(TASKS["multiclass"], z[None], y)
    with pytest.raises(DataError, match="too many errors to fit a temperature"):
        fit_temperature(TASKS["multiclass"], z[None], 1 - y)
    with pytest.raises(DataError, match="not finite"):
        fit_temperature(TASKS["multiclass"], z[None] / 0, y)


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose last epoch is much too sure of itself."""
    root = tmp_path_factory.mktemp("overfitted")
    return train(root, *NOISY, *QUICK, "trainer.epochs=150").path


@pytest.fixture
def run(overfitted: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(overfitted, tmp_path / "run"))


def test_a_calibrated_run_predicts_with_its_temperature(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last, best = run / "checkpoints/last.safetensors", run / "checkpoints/best.safetensors"
    before, bytes_before, best_before = content(last), last.read_bytes(), best.read_bytes()
    logits = mlpkit.load(run, checkpoint="last").to_torch()(torch.from_numpy(ROWS)).detach().numpy()[:, 0]
    assert command(["calibrate", str(run), "--checkpoint", "last"]) == 0
    printed = capsys.readouterr().out
    temperature = checkpoint.load(last).temperature
    assert temperature > 1.2 and f"temperature {temperature:.4g}: {last}" in printed
    assert content(last) == before and best.read_bytes() == best_before
    expected = expit(logits / temperature)

    def check(found: "np.ndarray[tuple[int, ...], np.dtype[np.floating]]") -> None:
        np.testing.assert_allclose(found, expected, atol=1e-5)

    model = mlpkit.load(run, checkpoint="last")
    check(model.predict_proba(ROWS)[:, 1])
    check(model.to_torch()(torch.from_numpy(ROWS)).sigmoid().detach().numpy()[:, 0])
    check(MLPClassifier.load(last).predict_proba(ROWS)[:, 1])
    export("c", tmp_path / "c", last)  # which compares the file's predictions with mlpkit's

    capsys.readouterr()
    assert command(["evaluate", str(run), "--checkpoint", "last"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("calibration: "))
    assert line.startswith(f"calibration: temperature {temperature:.4g}: ECE ")
    ece_before, ece_after = (float(text.split()[0]) for text in line.partition("ECE ")[2].split(" → ")[:2])
    assert ece_after < ece_before

    for place in ("plots", "plots/epoch-150"):
        (run / place).mkdir()
        (run / place / "calibration.png").touch()
    (run / "plots/boundary.png").touch()
    capsys.readouterr()
    assert command(["calibrate", str(run), "--checkpoint", "last", "--remove"]) == 0
    assert last.read_bytes() == bytes_before
    assert capsys.readouterr().err == (
        f"drawn before this change: calibration.png; to draw again: mlpkit plot {last}\n"
    )


@pytest.mark.long
@pytest.mark.parametrize("format_", ["python", "state_dict", "sklearn"])
def test_other_exports_have_the_temperature(format_: str, run: Path, tmp_path: Path) -> None:
    last = run / "checkpoints/last.safetensors"
    assert command(["calibrate", str(run), "--checkpoint", "last"]) == 0
    export(format_, tmp_path / "out", last)
    if format_ == "sklearn":
        found = MLPClassifier.load(tmp_path / "out/model.safetensors").predict_proba(ROWS)
        expected = mlpkit.load(run, checkpoint="last").predict_proba(ROWS)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_training_goes_on_as_if_it_had_not_been_calibrated(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    assert command(["calibrate", str(run), "--checkpoint", "last"]) == 0
    for each in (run, other):
        assert command(["resume", str(each), "trainer.epochs=153"]) == 0
    found, expected = (content(each / "checkpoints/last.safetensors") for each in (run, other))
    assert found == expected
    assert checkpoint.load(run / "checkpoints/last.safetensors").temperature == 1


def test_a_linear_estimator_shows_the_coefficients_of_its_probabilities(tmp_path: Path) -> None:
    from mlpkit.sklearn import LogisticRegression

    run = train(tmp_path, *NOISY[:-1], "model=logistic", *QUICK, "trainer.epochs=3").path
    path = run / "checkpoints/last.safetensors"
    checkpoint.save(path, replace(checkpoint.load(path, checkpoint.KINDS), temperature=2.0))
    model = LogisticRegression.load(path)
    expected = expit(ROWS @ model.coef_[0] + model.intercept_[0])
    np.testing.assert_allclose(model.predict_proba(ROWS)[:, 1], expected, atol=1e-6)


def logits_of(path: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.floating]]":
    """Return the logits (members, rows) of a checkpoint's networks without a temperature."""
    stored = replace(checkpoint.load(path), temperature=1.0)
    networks = [make_predictor(member).network for member in stored.members()]
    return torch.stack([network(torch.from_numpy(ROWS)).detach()[:, 0] for network in networks]).numpy()


@pytest.mark.long
def test_members_are_calibrated_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = (*NOISY, "model.members=3", "model.hidden=[32]", *QUICK, "trainer.epochs=60")
    run, picture = train(tmp_path, *chosen), tmp_path / "c.png"
    capsys.readouterr()
    arguments = ["calibrate", str(run.path), "--checkpoint", "last", "--output", str(picture)]
    assert command(arguments) == 0, capsys.readouterr().err
    assert f"picture: {picture}" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    temperature = checkpoint.load(run.last).temperature
    found = mlpkit.load(run.path, checkpoint="last").predict_proba(ROWS)[:, 1]
    np.testing.assert_allclose(found, expit(logits_of(run.last) / temperature).mean(0), atol=1e-5)
    val = load_dataset(config(*chosen).dataset).splits["val"]

    def loss(t: float) -> float:
        stored = replace(checkpoint.load(run.last), temperature=t)
        return float(log_loss(val.targets, make_predictor(stored).predict(val.inputs).numbers[:, 1].double()))

    assert loss(temperature) < min(loss(temperature / 1.1), loss(temperature * 1.1), loss(1.0))
    export("c", tmp_path / "c", run.last)  # which compares the file's predictions with mlpkit's


def test_the_runs_of_a_sweep_are_calibrated_as_one_and_stay_as_they_are_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = (*NOISY, *QUICK, "trainer.epochs=60", "run.progress=none")
    assert command(["train", "-m", *chosen, "seed=range(3)"]) == 0
    (sweep,) = tmp_path.glob("outputs/*/sweep-*")
    runs = sorted(path for path in sweep.iterdir() if (path / "checkpoints").is_dir())
    alone = [mlpkit.load(run).predict_proba(ROWS) for run in runs]
    assert command(["calibrate", str(sweep), "--ensemble"]) == 0
    paths = [run / "checkpoints/best.safetensors" for run in runs]
    about = {checkpoint.load(path).ensemble for path in paths}
    (together,) = about
    assert together[1:] == (3,) and together[0] != 1
    found = mlpkit.load(sweep, ensemble=True).predict_proba(ROWS)[:, 1]
    expected = np.mean([expit(logits_of(path)[0] / together[0]) for path in paths], 0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for run, before in zip(runs, alone, strict=True):
        np.testing.assert_array_equal(mlpkit.load(run).predict_proba(ROWS), before)
    capsys.readouterr()
    assert command(["evaluate", str(sweep), "--ensemble"]) == 0
    assert f"calibration: temperature {together[0]:.4g}: ECE " in capsys.readouterr().out
    checkpoint.save(paths[0], replace(checkpoint.load(paths[0], checkpoint.KINDS), ensemble=()))
    assert command(["evaluate", str(sweep), "--ensemble"]) == 0
    printed = capsys.readouterr()
    assert "are not those that were calibrated together" in printed.err and "temperature" not in printed.out
    assert command(["calibrate", str(sweep), "--ensemble", "--remove"]) == 0
    assert {checkpoint.load(path).ensemble for path in paths} == {()}


@pytest.mark.parametrize("temperature", [0.0, -1.0, 1e9])
def test_a_temperature_that_cannot_be_is_refused(run: Path, temperature: float) -> None:
    path = run / "checkpoints/last.safetensors"
    stored = checkpoint.load(path)
    for wrong in (replace(stored, temperature=temperature), replace(stored, ensemble=(temperature, 3))):
        checkpoint.save(path, wrong)
        with pytest.raises(DataError, match="its temperature cannot be used"):
            load_predictor(path)


def test_what_cannot_be_calibrated(trained: dict[str, Path], tmp_path: Path, refused: Refused) -> None:
    line = refused("calibrate", str(trained["line"]), code=2)
    assert "a regression has no probabilities to calibrate" in line
    run = train(tmp_path / "no-val", *NOISY[:2], "dataset.val_fraction=0", "trainer.epochs=1", *QUICK).path
    assert "has no validation rows" in refused("calibrate", str(run), code=2)
    assert json.loads((run / "summary.json").read_text())
