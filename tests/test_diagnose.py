"""`mlpkit diagnose`: each rule speaks of runs that have its fault, and is silent about runs that have not.

The healthy runs are those of test_default_pairs.py and test_recipes.py, which check that nothing is found.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Lines
from running import train

from mlpkit.analysis.diagnose import diagnose, diagnose_run
from mlpkit.analysis.evidence import NetworkFacts, read_evidence
from mlpkit.cli.main import run as command
from mlpkit.folders.run_folder import RunFolder

BARE = ("run.plots=false", "run.loggers=[]")
MOONS = ("dataset=moons", "model=mlp", "model.hidden=[8]")
NOISY = ("dataset=moons", "dataset.n=60", "dataset.noise=0.6", "model=mlp")

FAULTS = {
    "lr too low": (
        ("dataset=line", "model=linear", "optimizer.lr=0.001", "trainer.epochs=200"),
        "loss still falling",
        "optimizer.lr=0.01",
    ),
    "too few epochs": (
        ("dataset=digits", "model=mlp", "model.hidden=[16]", "trainer.epochs=4"),
        "loss still falling",
        "trainer.epochs=8",
    ),
    "too little time": (
        (*MOONS, "optimizer.lr=0.003", "trainer.epochs=100000", "trainer.time_limit=0.001"),
        None,  # one epoch has no curve
        "",
    ),
    "no early stopping": (
        (*NOISY, "optimizer.lr=0.03", "trainer.epochs=200"),
        "overfitting",
        "trainer.early_stopping.patience=20",
    ),
    "all weights zero": ((*MOONS, "init=zeros", "trainer.epochs=20"), "no gradient", "init=default"),
    "all weights equal": ((*MOONS, "init=constant", "trainer.epochs=20"), "no gradient", "init=default"),
    "dead from the start": (
        (*MOONS, "init=normal", "init.bias=-9", "optimizer.lr=0.3", "trainer.epochs=300"),
        "no gradient",
        "init=default",
    ),
    "lr far too high for sgd": (
        (*MOONS, "optimizer=sgd", "optimizer.lr=100", "trainer.epochs=30"),
        "exploding gradients",
        "trainer.clip_norm=1",
    ),
    "lr far too high for adam": (
        (*MOONS, "optimizer.lr=30", "trainer.epochs=30"),
        "exploding gradients",
        "optimizer.lr=0.1",
    ),
    "steps too close": (
        (*MOONS, "scheduler=step", "trainer.epochs=90"),
        "lr decayed",
        "scheduler.step_size=30",
    ),
    "decay too fast": (
        (*MOONS, "optimizer.lr=0.01", "scheduler=exponential", "scheduler.gamma=0.8", "trainer.epochs=100"),
        "lr decayed",
        "scheduler.gamma=0.955",
    ),
    "lr of a schedule that ends in 0": ((*MOONS, "optimizer.lr=0.05", "scheduler=cosine"), None, ""),
    "lr of a schedule that begins near 0": ((*MOONS, "optimizer.lr=0.05", "scheduler=onecycle"), None, ""),
    "overfitting that early stopping ends": (
        (*NOISY, "optimizer.lr=0.03", "trainer.monitor=loss", "trainer.early_stopping.patience=20"),
        None,
        "",
    ),
}


@pytest.fixture(scope="module")
def trained_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunFolder]:
    """Train a run, once for the same overrides."""
    root, known = tmp_path_factory.mktemp("diagnosed"), dict[tuple[str, ...], RunFolder]()

    def get(*overrides: str) -> RunFolder:
        if overrides not in known:
            known[overrides] = train(root, *BARE, *overrides)
        return known[overrides]

    return get


@pytest.mark.sampled(12)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_with_its_way_out(trained_with: Callable[..., RunFolder], fault: str) -> None:
    overrides, kind, override = FAULTS[fault]
    folder = trained_with(*overrides)
    found = diagnose_run(folder.path)
    assert [finding.kind for finding in found[:1]] == ([kind] if kind else [])
    lines = [line for line in folder.log.read_text().splitlines() if "; try " in line]
    assert len(lines) <= 3
    if kind:
        assert found[0].override == override
        assert str(found[0]) in lines
        assert lines.index(str(found[0])) == 0


def test_the_way_out_is_a_way_out(trained_with: Callable[..., RunFolder]) -> None:
    """With the override of the finding the loss is lower."""
    for fault in ("lr too low", "all weights zero", "lr far too high for adam", "steps too close"):
        overrides, _, override = FAULTS[fault]
        mended = [line for line in overrides if line.partition("=")[0] != override.partition("=")[0]]
        before, after = (
            read_evidence(folder.path).train.last
            for folder in (trained_with(*overrides), trained_with(*mended, override))
        )
        assert after < before, fault


def test_dead_units_are_those_that_no_row_wakes(trained_with: Callable[..., RunFolder]) -> None:
    folder = trained_with("dataset=line", "model=mlp", "model.hidden=[16]", "init=uniform", "init.low=-1.0")
    (line,) = [line for line in folder.log.read_text().splitlines() if line.startswith("dead units")]
    assert line.endswith("16 ReLU units in hidden layer 1 are 0 on every training row; try "
                         "model.activation=leaky_relu")  # fmt: skip


def test_most_units_of_a_layer_must_be_dead(trained_with: Callable[..., RunFolder]) -> None:
    path = trained_with(*MOONS, "optimizer.lr=0.05").path
    kinds = {
        dead: [f.kind for f in diagnose(read_evidence(path, NetworkFacts((("hidden layer 1", dead, 8),))))]
        for dead in (5, 6)
    }
    assert kinds == {5: [], 6: ["dead units"]}


def test_a_class_that_is_never_predicted(tmp_path: Path) -> None:
    rows = [f"{i % 7},{'rare' if i % 20 == 0 else 'often'}" for i in range(400)]
    (tmp_path / "rare.csv").write_text("x,y\n" + "\n".join(rows) + "\n")
    table = ("dataset=table", f"dataset.path={tmp_path}/rare.csv", "dataset.target=y", "model=logistic")
    folder = train(tmp_path, *BARE, *table, "trainer.epochs=5")
    expected = (
        "class never predicted: no training row is predicted as rare; try trainer.class_weight=balanced"
    )
    assert expected in folder.log.read_text().splitlines()
    mended = train(tmp_path, *BARE, *table, "trainer.epochs=5", "trainer.class_weight=balanced")
    assert "never predicted" not in mended.log.read_text()


@pytest.mark.parametrize("model", ["tabm", "mlp"])
def test_several_networks_predict_by_their_mean(model: str, tmp_path: Path, lines: Lines) -> None:
    several = (f"model={model}", "model.members=3", "model.hidden=[8]")
    run = train(tmp_path, *BARE, "dataset=iris", *several, "optimizer.lr=0.01", "trainer.epochs=40")
    for said in (run.log.read_text(), "".join(lines("diagnose", str(run.path)))):
        assert "class never predicted" not in said and "dead units" not in said


def test_the_baseline_is_told_once(trained_with: Callable[..., RunFolder]) -> None:
    """The end of a run warns of it already; the command, which shows no scores, tells of it."""
    folder = trained_with("dataset=line", "model=linear", "optimizer.lr=0.001", "trainer.epochs=200")
    log = folder.log.read_text()
    assert log.count("not better than predicting the mean") == 1
    assert "baseline not beaten" not in log
    assert diagnose_run(folder.path)[1].kind == "baseline not beaten"


def test_a_short_run_has_no_tenth(trained_with: Callable[..., RunFolder]) -> None:
    (finding,) = diagnose_run(trained_with(*FAULTS["too few epochs"][0]).path)
    assert finding.text.endswith(" on train from epoch 3 to 4")


def test_a_single_last_epoch_is_no_overfitting(
    trained_with: Callable[..., RunFolder], tmp_path: Path
) -> None:
    run = RunFolder(shutil.copytree(trained_with(*MOONS, "trainer.epochs=8").path, tmp_path / "run"))
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    for worse, kinds in ((1, set()), (2, {"overfitting"})):
        high = [{**row, "loss": 9.0} if (row["split"], row["epoch"] > 8 - worse) == ("val", True) else row
                for row in rows]  # fmt: skip
        run.metrics.write_text("".join(f"{json.dumps(row)}\n" for row in high))
        assert {found.kind for found in diagnose_run(run.path)} & {"overfitting"} == kinds


def test_the_best_epoch_is_the_last(trained_with: Callable[..., RunFolder]) -> None:
    folder = trained_with("dataset=iris", "model=logistic", "trainer.epochs=150")
    (finding,) = diagnose_run(folder.path)
    assert (finding.kind, finding.override) == ("best epoch is the last", "trainer.epochs=300")


def test_the_command_says_what_the_end_of_the_run_said(
    trained_with: Callable[..., RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained_with(*FAULTS["steps too close"][0])
    told = [line for line in folder.log.read_text().splitlines() if "; try " in line]
    assert told
    for named in (folder.path, folder.best):
        capsys.readouterr()
        assert command(["diagnose", str(named)]) == 0
        assert capsys.readouterr() == ("".join(f"{line}\n" for line in told), "")


def test_a_healthy_run(trained_with: Callable[..., RunFolder], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["diagnose", str(trained_with(*MOONS, "optimizer.lr=0.05").path)]) == 0
    assert capsys.readouterr() == ("nothing stands out\n", "")


def test_a_sweep_is_summed_up(lines: Lines) -> None:
    found = lines("diagnose")  # the newest run is one of a sweep
    assert found[0].split() == ["finding", "runs"]
    assert [line.rsplit(maxsplit=3) for line in found[1:4]] == [
        ["loss still falling", "2", "of", "4"],
        ["diverged", "2", "of", "4"],
        ["nothing stands out", "0", "of", "4"],
    ]
    assert found[4] == ""
    assert found[5].startswith("loss still falling: from ")


def test_a_run_that_failed(lines: Lines) -> None:
    failed = "diverged: step 1 (epoch 1): val loss=nan; try optimizer.lr=0.1"
    assert lines("diagnose", "outputs/a/failed") == [failed]


def test_without_the_data_the_curves_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("x,y\n" + "".join(f"{i % 10},{2 * (i % 10)}\n" for i in range(50)))
    table = (
        "dataset=table",
        "dataset.path=t.csv",
        "dataset.target=y",
        "model=linear",
        "dataset.task=regression",
    )
    folder = train(tmp_path, *table, "optimizer.lr=1e-4", "trainer.epochs=20", *BARE)
    Path("t.csv").unlink()
    capsys.readouterr()
    assert command(["diagnose", str(folder.path)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("loss still falling: ")
    assert said.err.startswith("from the curves alone: ")


def test_a_damaged_run_is_one_line(
    trained_with: Callable[..., RunFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path / "copy")
    shutil.copytree(trained_with(*FAULTS["steps too close"][0]).path, folder.path)
    folder.metrics.write_text("{}\n")
    assert command(["diagnose", str(folder.path)]) == 65
    assert capsys.readouterr().err == (
        f"mlpkit: {folder.metrics}:1: not a line of metrics; mend or remove the line\n"
    )
