"""RUN is a run, a checkpoint, a sweep or a folder of runs; which run is taken is said."""

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cases import rest_long
from conftest import Refused

from mlpkit.cli.main import run as command
from mlpkit.folders.indexed_results import results_below

SMALL = ("trainer.epochs=1", "run.plots=false", "run.tensorboard=false", "run.progress=none")
MISSING = "no such run folder or checkpoint; name one, or leave it out for the newest run"
COMMANDS: dict[str, tuple[str, ...]] = {
    "predict": ("--values", "0.5,0.25"),
    "evaluate": (),
    "inspect": (),
    "plot": (),
    "resume": (),
}

Say = Callable[[], str]


@pytest.fixture(scope="module")
def group(trained: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs of the moons, of which the one that sorts first is newer."""
    folder = tmp_path_factory.mktemp("group")
    for name in ("b-old", "a-new"):
        shutil.copytree(trained["moons"], folder / name)
        config = folder / name / "config.yaml"
        config.write_text(config.read_text())  # now
        time_of = config.stat().st_mtime_ns
        while time.time_ns() - time_of < 2_000_000:  # the clock of the file system is coarse
            pass
    (folder / "empty").mkdir()
    return folder


@pytest.mark.parametrize("name", rest_long(COMMANDS, lambda name: name not in ("plot", "evaluate")))
def test_a_folder_of_runs_is_its_newest_run(
    name: str, group: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    which = "" if name == "resume" else r" \(best checkpoint, epoch \d\)"
    assert command([name, str(group), *COMMANDS[name]]) == 0
    assert re.fullmatch(f"newest run: {re.escape(str(group / 'a-new'))}{which}\n", capsys.readouterr().err)
    assert command([name, str(group / "b-old"), *COMMANDS[name]]) == 0
    assert capsys.readouterr().err == ""


def test_a_sweep_is_its_best_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = tmp_path / "sweep"
    place = (f"run.root={tmp_path}", f"run.dir={sweep}")
    rates = ("dataset=moons", "model=mlp", "optimizer.lr=1e-9,0.1,1e-8", "trainer.epochs=50")
    assert command(["train", "-m", *rates, *SMALL[1:], *place]) == 0
    results = results_below([sweep], print)
    (best,) = [result.path for result in results if result.settings["optimizer.lr"] == 0.1]
    assert f"best run of rank 1: {best}\n" in capsys.readouterr().out
    for name in ("predict", "evaluate", "inspect", "plot"):
        assert command([name, str(sweep), *COMMANDS[name]]) == 0
        assert capsys.readouterr().err.startswith(f"best run: {best} (best checkpoint, epoch ")


@pytest.mark.long
def test_a_newest_run_in_a_sweep_stands_for_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    values = ("dataset=moons", "model=mlp", "optimizer.lr=1e-9,0.1,1e-8", "trainer.epochs=20")
    assert command(["train", "-m", *values, *SMALL[1:], "run.dir=outputs/mine/sweep"]) == 0
    results = results_below([Path("outputs/mine/sweep")], print)
    (best,) = [result.path for result in results if result.settings["optimizer.lr"] == 0.1]
    capsys.readouterr()
    every = ("predict", "evaluate", "inspect", "plot")
    for folder, names in (((), every), (("outputs/mine",), ("predict",))):
        for name in names:
            assert command([name, *folder, *COMMANDS[name]]) == 0
            said = capsys.readouterr().err
            assert said.startswith(f"best run of the newest sweep: {best} (best checkpoint, epoch ")
        assert command(["resume", *folder]) == 0
        assert capsys.readouterr().err.startswith("newest sweep: outputs/mine/sweep\n")


def test_resume_takes_a_sweep_without_a_checkpoint(
    trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained["moons"], "outputs/moons/run")
    assert command(["train", "-m", "dataset=sum", "seed=1,2", *SMALL, "run.dir=outputs/sum/sweep"]) == 0
    for path in Path("outputs/sum/sweep").glob("0*"):  # as if it had been killed before its first run
        shutil.rmtree(path)
    other = Path("outputs/2026-01-01/.hydra/config.yaml")  # Hydra's own folders are called outputs too
    other.parent.mkdir(parents=True)
    other.write_text("lr: 1\n")
    capsys.readouterr()
    assert command(["resume"]) == 0
    assert capsys.readouterr().err == "newest sweep: outputs/sum/sweep\n"
    assert len(list(Path("outputs/sum/sweep").glob("0*/summary.json"))) == 2


def test_out_of_fold_takes_the_newest_sweep_over_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    """Newer runs and sweeps without folds do not matter."""
    monkeypatch.chdir(tmp_path)
    small = (*SMALL, "model=logistic")
    assert command(["train", *small, "dataset=iris"]) == 0
    capsys.readouterr()
    said = refused("predict", "--out-of-fold", code=2)
    assert said.startswith("--out-of-fold: no sweep over folds below outputs; train one: mlpkit train -m ")
    folds = ("dataset=iris", "dataset.fold=range(3)", "dataset.folds=3", "run.dir=outputs/iris/folds")
    assert command(["train", "-m", *small, *folds]) == 0
    assert command(["train", "-m", *small, "dataset=iris", "seed=1,2", "run.dir=outputs/iris/seeds"]) == 0
    assert command(["train", *small, "dataset=iris"]) == 0
    for arguments in ((), ("outputs/iris",)):
        capsys.readouterr()
        assert command(["predict", "--out-of-fold", *arguments, "--output", "said.csv"]) == 0
        assert capsys.readouterr().err.startswith("newest sweep over folds: outputs/iris/folds\n")


def test_a_folder_without_a_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    for arguments, problem in {
        ("inspect", "empty"): "empty: holds no checkpoint (checkpoints/last.safetensors); name a run folder",
        ("resume", "empty"): "empty: not a run folder (it has no config.yaml), which this command needs",
        ("inspect", "none"): f"none: {MISSING}",
        ("resume", "none"): f"none: {MISSING}",
        ("inspect",): "no trained run under outputs/; start one with `mlpkit train`, or name a run folder",
    }.items():
        assert command(list(arguments)) == 65
        assert capsys.readouterr().err == f"mlpkit: {problem}\n"
