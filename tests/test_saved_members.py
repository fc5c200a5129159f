"""The commands take a folder in which an estimator has saved its members, and a checkpoint anywhere."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Refused
from exporting import export, read_columns
from sklearn.datasets import load_iris

import mlpkit
from mlpkit.cli.main import run as command
from mlpkit.sklearn import MLPClassifier

NO_SPLIT = "was trained on rows in memory, by MLPClassifier.fit, so it has no split; score a file "


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three members, beside a table of their rows and one of what the estimator says of them."""
    folder = tmp_path_factory.mktemp("saved")
    frame, y = load_iris(return_X_y=True, as_frame=True)
    model = MLPClassifier((8,), n_members=3, max_iter=20, random_state=0, n_iter_no_change=None).fit(frame, y)
    model.save(folder / "members")
    frame.to_csv(folder / "iris.csv", index=False)
    frame.assign(target=y).to_csv(folder / "labelled.csv", index=False)
    np.save(folder / "said.npy", model.predict_proba(frame))
    return folder


def test_predict_evaluate_and_load(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members, said = str(saved / "members"), np.load(saved / "said.npy")
    for option in ((), ("--ensemble",)):
        assert command(["predict", members, "--input", str(saved / "iris.csv"), *option]) == 0
        columns = read_columns(capsys.readouterr().out)
        probabilities = np.stack([columns[f"p({name})"] for name in "012"], 1)
        np.testing.assert_allclose(probabilities, said, rtol=1e-6)
    assert command(["evaluate", members, "--input", str(saved / "labelled.csv")]) == 0
    assert capsys.readouterr().out.startswith("ensemble of 3, 150 rows")
    rows = np.loadtxt(saved / "iris.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(mlpkit.load(members).predict_proba(rows), said, rtol=1e-6)


@pytest.mark.long
def test_export(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also from a folder that export wrote."""
    export("sklearn", tmp_path / "copy", saved / "members")
    export("python", tmp_path / "python", tmp_path / "copy")
    assert "An ensemble of 3 models" in (tmp_path / "python/MODEL_CARD.md").read_text(encoding="utf-8")


def test_what_needs_one_model_or_a_split_says_so(saved: Path, refused: Refused) -> None:
    members = saved / "members"
    for name in ("inspect", "plot"):
        said = refused(name, str(members), code=65)
        first = members / "member-000.safetensors"
        assert said == f"{members}: holds 3 members of an ensemble; name one, such as {first}"
    for arguments in (("evaluate",), ("predict", "--split", "test")):
        assert NO_SPLIT in refused(*arguments, str(members), code=2)


def test_a_checkpoint_in_the_working_folder(
    trained: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its path has no folder of a run above it."""
    shutil.copy(trained["moons"] / "checkpoints" / "best.safetensors", tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    assert command(["evaluate", "model.safetensors"]) == 0
    assert command(["predict", "model.safetensors", "--split", "test", "--output", "said.csv"]) == 0
    export("python", tmp_path / "out", "model.safetensors", "--threshold", "0.4")
