"""A sweep that goes on computes as it did before, whatever was measured or changed since."""

import json
import signal
from pathlib import Path

import pytest

from mlpkit.cli.main import run as command
from mlpkit.engines import matmul_choice
from mlpkit.folders.run_folder import RunFolder
from mlpkit.training.stop import StopRequest

SWEEP = "outputs/sweep"
TRAIN = (
    "train", "-m", "dataset=moons", "dataset.n=60", "model.hidden=[256,256]", "seed=range(3)",
    "trainer.epochs=30", f"run.dir={SWEEP}", "run.tensorboard=false",
)  # fmt: skip
STOPPED = 20  # questions whether to stop, of which each epoch asks some
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> list[RunFolder]:
    """Three runs that a real SIGTERM has stopped between two epochs, with a measurement of "high"."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(matmul_choice, "measure", lambda shape, rounds: "high")
    check, calls = StopRequest.check, iter(range(1, 10**9))

    def counted(self: StopRequest) -> None:
        if next(calls) == STOPPED:
            signal.raise_signal(signal.SIGTERM)
        check(self)

    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "check", counted)
        assert command(list(TRAIN)) == 143
    monkeypatch.setattr(matmul_choice, "measure", lambda shape, rounds: "medium")
    capsys.readouterr()
    folders = [RunFolder(path) for path in sorted(Path(SWEEP).glob("0*"))]
    assert [environment(run)["matmul"] for run in folders] == ["high"] * 3
    return folders


def environment(run: RunFolder) -> dict[str, object]:
    found: dict[str, object] = json.loads(run.environment.read_text())
    return found


def change(run: RunFolder, **values: object) -> None:
    run.environment.write_text(json.dumps({**environment(run), **values}))


def last_lines(run: RunFolder, start: str) -> str:
    """Return the last line of a run's log that begins so, without the time in front of it."""
    return [line[line.index(start) :] for line in run.log.read_text().splitlines() if start in line][-1]


def test_it_keeps_what_was_measured(runs: list[RunFolder], tmp_path: Path, capsys: Captured) -> None:
    for file in (tmp_path / "cache").rglob("*.json"):
        file.write_text('{"level": "medium"}')
    assert command(["resume", SWEEP]) == 0
    printed, said = capsys.readouterr()
    assert printed.startswith("sweep of 3 runs: 3 trained together\n")
    assert "warning" not in printed + said
    for run in runs:
        assert environment(run)["matmul"] == "high"
        assert last_lines(run, "matrix products:") == "matrix products: high (as before)"
        assert json.loads(run.summary.read_text())["epochs"] == 30


def test_runs_that_were_trained_otherwise_go_on_apart(runs: list[RunFolder], capsys: Captured) -> None:
    change(runs[1], matmul="medium")
    assert command(["resume", SWEEP]) == 0
    assert capsys.readouterr().out.startswith("sweep of 3 runs: 2 trained together, 1 alone\n")
    assert [environment(run)["matmul"] for run in runs] == ["high", "medium", "high"]


def test_the_threads_are_those_of_before_though_fewer_runs_are_left(runs: list[RunFolder]) -> None:
    for run in runs:
        change(run, threads=1)
    for path in runs[2].path.rglob("*"):
        if path.is_file():
            path.unlink()
    assert command(["resume", SWEEP]) == 0
    assert [environment(run)["threads"] for run in runs[:2]] == [1, 1]


def test_another_machine_is_told_once(runs: list[RunFolder], capsys: Captured) -> None:
    for run in runs:
        change(run, platform="Plan 9", device_name="a slide rule")
    assert command(["resume", SWEEP]) == 0
    name = environment(runs[0])["device_name"]
    assert name != "a slide rule"
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("warning: ") == 1
    assert f"warning: device_name '{name}' (was 'a slide rule'): the numbers may differ" in printed


def test_nothing_is_measured_for_a_sweep_that_was_found(
    runs: list[RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its configs may be foreign, and what is kept would decide for the user's own runs."""
    for run in runs:
        change(run, matmul=None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    assert command(["resume", SWEEP]) == 0
    assert [environment(run)["matmul"] for run in runs] == ["highest"] * 3
    assert not (tmp_path / "another").exists()
