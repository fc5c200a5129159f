"""run.files=minimal: a finished run is one file, and every command works from it or says what is missing."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Lines, Refused
from running import content

import mlpkit
from mlpkit.cli.main import run as command
from mlpkit.engines.engine import Engine
from mlpkit.folders.checkpoint import load
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import read_environment, read_summary
from mlpkit.folders.state import KINDS

MOONS = ("dataset=moons", "model.hidden=[4]", "trainer.epochs=20", "optimizer.lr=0.3", "run.progress=none")
MINIMAL, ALL = Path("minimal"), Path("all")
SWEEP = Path("sweep")
CODE = {"watch": 65, "film": 2}


@pytest.fixture(scope="module")
def trained_both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in one file, the same run with all files, and a sweep of runs in one file each."""
    root = tmp_path_factory.mktemp("one-file")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(root)
        # early best epochs, so that the last weights are not the best
        small = (*MOONS, "trainer.monitor=accuracy", "run.plots=false", "run.loggers=[]")
        assert command(["train", *small, "run.files=minimal", f"run.dir={MINIMAL}"]) == 0
        assert command(["train", *small, f"run.dir={ALL}"]) == 0
        assert command(["train", "-m", *small, "run.files=minimal", f"run.dir={SWEEP}", "seed=range(3)"]) == 0
    return root


@pytest.fixture
def both(trained_both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of these runs in the working directory."""
    shutil.copytree(trained_both, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def files(folder: Path) -> list[str]:
    """Return the paths of all files in a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("both")
def test_it_is_one_file_with_the_bits_of_the_same_run() -> None:
    assert files(MINIMAL) == ["checkpoints/last.safetensors"]
    for run in SWEEP.glob("0*"):
        assert files(run) == ["checkpoints/last.safetensors"]
    one, other = (content(RunFolder(path).last) for path in (MINIMAL, ALL))
    assert (one["progress"], one["scores"], one["tensors"]) == (
        other["progress"],
        other["scores"],
        other["tensors"],
    )
    times = {"train_seconds": 0, "samples_per_second": 0}
    summaries = [read_summary(RunFolder(path)) | times for path in (MINIMAL, ALL)]
    assert summaries[0] == summaries[1]
    assert read_environment(RunFolder(MINIMAL)) == read_environment(RunFolder(ALL))


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("which", ["best", "last"])
def test_it_has_the_best_and_the_last_weights(which: str, lines: Lines) -> None:
    assert 0 < read_summary(RunFolder(ALL))["best"]["epoch"] < 20  # else they are the same
    commands = [
        ("predict", "--checkpoint", which, "--split", "test"),
        ("evaluate", "--checkpoint", which),
        ("inspect", "--checkpoint", which, "--weights"),
    ]
    for name, *options in commands:
        one, other = (lines(name, str(path), *options) for path in (MINIMAL, ALL))
        about = (
            "run",
            "files",
            "dir",
            str(MINIMAL),
            str(ALL),
            "train",
        )  # lines that name the run or its time
        assert [line for line in one if not line.strip().startswith(about)] == [
            line for line in other if not line.strip().startswith(about)
        ]
    one, other = (mlpkit.load(path, which).predict([[0.5, 0.1]]) for path in (MINIMAL, ALL))
    assert list(one) == list(other)


@pytest.mark.usefixtures("both")
def test_ls_and_compare_show_the_same(lines: Lines) -> None:
    one, other = (lines("ls", str(path))[-1].split() for path in (MINIMAL, ALL))
    assert one[3:] == other[3:]
    rows = [lines("compare", str(path), "--runs")[-1].split() for path in (MINIMAL, ALL)]
    assert rows[0][1:-1] == rows[1][1:-1]
    assert lines("compare", str(SWEEP))[0].startswith("3 runs")
    assert sum(" done " in line for line in lines("ls", str(SWEEP))) == 3


@pytest.mark.usefixtures("both")
def test_a_resumed_run_is_one_file_again_with_the_same_bits() -> None:
    for path in (MINIMAL, ALL):
        assert command(["resume", str(path), "trainer.epochs=30"]) == 0
    assert files(MINIMAL) == ["checkpoints/last.safetensors"]
    one, other = (content(RunFolder(path).last) for path in (MINIMAL, ALL))
    assert one["tensors"] == other["tensors"]
    stored = load(RunFolder(MINIMAL).last)
    assert len(stored.record["commands"]) == 2
    assert stored.record["summary"]["epochs"] == 30


@pytest.mark.usefixtures("both")
def test_a_finished_run_or_sweep_is_not_trained_again(lines: Lines) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*.safetensors")}
    assert "done after 20 epochs" in " ".join(lines("resume", str(MINIMAL)))
    assert command(["resume", str(SWEEP)]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in Path().rglob("*.safetensors")}


@pytest.mark.usefixtures("both")
def test_what_a_run_keeps_may_not_change(refused: Refused) -> None:
    said = refused("resume", str(MINIMAL), "run.files=all", "trainer.epochs=30", code=2)
    assert "run.files" in said


def test_a_failed_run_says_why_and_is_trained_again_by_its_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    monkeypatch.chdir(tmp_path)
    small = (*MOONS, "run.files=minimal", "run.dir=sweep", "optimizer.lr=0.1,1e38")
    small = tuple(line for line in small if line != "optimizer.lr=0.3")
    assert command(["train", "-m", *small]) == 1
    done, failed = sorted(Path("sweep").glob("0*"))
    assert files(done) == ["checkpoints/last.safetensors"]
    assert files(failed) == ["config.yaml", "summary.json"]
    assert "diverged" in json.loads((failed / "summary.json").read_text())["error"]
    assert any(" failed " in line for line in lines("ls", "sweep"))
    assert command(["resume", "sweep"]) == 1
    assert files(failed) == ["config.yaml", "summary.json"]
    assert command(["clean", "sweep", "--yes"]) == 0
    assert done.exists() and not failed.exists()


@pytest.mark.usefixtures("both")
def test_an_interrupted_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    take_step = Engine.step

    def step_until_signal(engine: Engine, rows: Any, lrs: Any, epoch: int, step: int, measure: bool) -> Any:
        if step == 5:
            signal.raise_signal(signal.SIGTERM)
        return take_step(engine, rows, lrs, epoch, step, measure)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "step", step_until_signal)
        assert command(["train", *MOONS, "run.files=minimal", "run.dir=stopped"]) == 128 + signal.SIGTERM
    assert files(Path("stopped")) == ["checkpoints/last.safetensors", "config.yaml", "summary.json"]
    assert command(["resume", "stopped"]) == 0
    assert files(Path("stopped")) == ["checkpoints/last.safetensors"]
    one, other = (load(RunFolder(Path(path)).last, KINDS) for path in ("stopped", "all"))
    for name, tensor in other.state.tensors().items():
        assert one.state.tensors()[name].equal(tensor), name


@pytest.mark.usefixtures("both")
def test_train_from_its_config_repeats_it(lines: Lines) -> None:
    file = str(RunFolder(MINIMAL).last)
    assert "files: minimal" in " ".join(lines("config", "--config", file))
    assert any(
        line.startswith("optimizer.lr") and file in line
        for line in lines("config", "--config", file, "--explain")
    )
    assert command(["train", "--config", file, "run.files=all", "run.dir=again"]) == 0
    assert content(RunFolder(Path("again")).last)["tensors"] == content(RunFolder(MINIMAL).last)["tensors"]
    assert (Path("again") / "metrics.jsonl").exists()


@pytest.mark.sampled(3)
@pytest.mark.usefixtures("both")
@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", str(MINIMAL)),
        ("calibrate", str(MINIMAL)),
        ("export", str(MINIMAL), "--format", "python"),
        ("report", str(MINIMAL)),
        ("report", str(SWEEP)),
        ("diff", str(MINIMAL), str(ALL)),
        ("tag", str(MINIMAL), "good"),
        ("diagnose", str(MINIMAL)),
        ("fork", str(MINIMAL), "trainer.epochs=25", "-m", "optimizer.lr=0.1,0.2"),
    ],
    ids=" ".join,
)
def test_commands_that_work_from_it(arguments: tuple[str, ...]) -> None:
    before = load(RunFolder(MINIMAL).last, KINDS)
    assert command(list(arguments)) == 0
    after = load(RunFolder(MINIMAL).last, KINDS)
    assert after.record == before.record
    for name, tensor in before.state.tensors().items():
        assert after.state.tensors()[name].equal(tensor), name


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("arguments", [("watch", "--once"), ("film",)], ids=" ".join)
def test_commands_that_need_what_is_not_kept_say_so(arguments: tuple[str, ...], refused: Refused) -> None:
    assert "run.f" in refused(arguments[0], str(MINIMAL), *arguments[1:], code=CODE[arguments[0]])


@pytest.mark.usefixtures("both")
def test_no_curves_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["compare", str(SWEEP), "--tensorboard"]) == 65
    assert "--tensorboard: none of these runs has curves" in capsys.readouterr().err


@pytest.mark.usefixtures("both")
def test_python_reads_it() -> None:
    run = mlpkit.Run(MINIMAL)
    assert run.config["run"]["files"] == "minimal"
    assert run.summary["status"] == "done"
    with pytest.raises(mlpkit.MlpkitError, match=r"run\.files=minimal keeps none"):
        _ = run.history


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _not_json(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"summary", b"summ\xffry"))


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("damage", [_cut, _not_json])
def test_a_damaged_one_is_shown_as_such(damage: Callable[[Path], None], lines: Lines) -> None:
    damage(RunFolder(MINIMAL).last)
    assert "damaged" in lines("ls", str(MINIMAL))[-1].split()
    assert command(["compare", str(MINIMAL)]) == 65


@pytest.mark.parametrize("setting", ["run.film=5", "run.histograms=5", "run.loggers=[mlflow]"])
def test_what_cannot_be_kept_is_refused(setting: str, refused: Refused) -> None:
    said = refused("train", "run.files=minimal", setting, code=2)
    assert said.startswith("run: files=minimal keeps no logs; leave out ")
    assert said.endswith(", or use files=all")


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("link", ["checkpoints", "checkpoints/last.safetensors"])
def test_a_link_is_not_followed(link: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = MINIMAL / link
    path.rename("elsewhere")
    path.symlink_to(Path("elsewhere").absolute())
    assert command(["compare", str(MINIMAL)]) == 65
    assert "holds no run" in capsys.readouterr().err
