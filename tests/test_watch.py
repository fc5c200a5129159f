"""What `mlpkit watch` shows of runs and sweeps, from their files alone."""

import json
import os
import pty
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import DONE, FAILED, SWEEP, Lines, Refused

from mlpkit.cli.main import run as command
from mlpkit.folders import followed_run
from mlpkit.folders.followed_run import Curve, FollowedRun, Tail
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.terminal_plot import Line, draw_lines, sparkline

View = Callable[..., str]


@pytest.fixture
def view(lines: Lines) -> View:
    """Print a view of the sample outputs once; return the text."""
    return lambda *arguments: "\n".join(lines("watch", *arguments))


def line_of(epoch: int, loss: float = 0.5) -> bytes:
    values = {"epoch": epoch, "step": epoch, "split": "train", "loss": loss, "seconds": epoch / 10}
    return json.dumps(values).encode() + b"\n"


def test_a_finished_run(view: View) -> None:
    shown = view(str(DONE))
    best = json.loads(Path(DONE, "summary.json").read_text())["best"]
    assert shown.startswith("moons mlp  done  epoch 3/3")
    assert f"best val accuracy {best['value']:.4f} at epoch {best['epoch']}; now " in shown
    assert "loss  t train  v val" in shown
    assert "lr         0.001" in shown
    assert "left" not in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert shown.isascii()


def test_once_is_what_a_pipe_gets(view: View) -> None:
    assert view(str(DONE), "--once") == view(str(DONE))


def test_a_failed_run_and_a_killed_one(view: View) -> None:
    assert "moons mlp  failed  epoch 0/3" in view(str(FAILED))
    Path(DONE, "summary.json").unlink()
    assert "killed; mlpkit resume goes on  epoch 3/3" in view(str(DONE))
    Path(DONE, ".lock").write_text(f"\0process {os.getpid()} on {socket.gethostname()}\n")
    shown = view(str(DONE))
    assert "moons mlp  running  epoch 3/3" in shown
    assert "epochs/s  0 s left" in shown


def test_a_sweep_ranks_its_runs(view: View) -> None:
    shown = view(str(SWEEP)).splitlines()
    assert shown[0] == f"{SWEEP}  4 runs: 2 done, 2 failed"
    rows = [line for line in shown if " seed=" in line]
    assert [row.split()[1:4:2] for row in rows[:2]] == [["lr=0.1", "done"]] * 2
    assert ["failed" in row for row in rows] == [False, False, True, True]
    best = [float(row.split()[-1]) for row in rows[:2]]
    assert best == sorted(best, reverse=True)
    assert "val accuracy of the leading runs" in shown[1]


def test_runs_that_have_not_begun_are_waiting(view: View) -> None:
    for run in SWEEP.glob("0003-*"):
        run.rename("elsewhere")
    assert view(str(SWEEP)).splitlines()[0].endswith("4 runs: 2 done, 1 failed, 1 waiting")


def test_the_newest_is_taken(view: View) -> None:
    assert view() == view(str(SWEEP))


def test_what_is_no_run(refused: Refused) -> None:
    assert "no trained run under outputs/" in refused("watch", code=65)
    assert refused("watch", "nothing", code=65).startswith("nothing: no such run folder")


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pipes among files")
def test_a_pipe_in_place_of_a_file_does_not_keep_it_waiting(view: View, refused: Refused) -> None:
    run = next(SWEEP.glob("0000-*"))
    for name in ("overrides.yaml", "metrics.jsonl"):
        Path(run, name).unlink()
        os.mkfifo(Path(run, name))
    assert run.name in view(str(SWEEP.absolute()))
    Path(DONE, "config.yaml").unlink()
    os.mkfifo(Path(DONE, "config.yaml"))
    assert FollowedRun(DONE).total is None
    assert refused("watch", str(DONE.absolute()), code=65).endswith("not a file that mlpkit has written)")


def test_only_what_was_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert tail.read().lines == []
    path.write_bytes(line_of(1) + line_of(2)[:10])
    assert tail.read().lines == [line_of(1)[:-1]]
    with path.open("ab") as stream:
        stream.write(line_of(2)[10:])
    path_before = path.read_bytes()
    with path.open("r+b") as stream:  # what was read already is not looked at again
        stream.write(b"x")
    assert tail.read().lines == [line_of(2)[:-1]]
    assert tail.read().lines == []
    path.write_bytes(path_before[:20])  # cut, as when a run is resumed from an older checkpoint
    assert tail.read().is_new


def test_a_resumed_run_is_followed_from_where_it_was_cut(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.config.write_text(
        "format: 3\ntrainer:\n  batch_size: full\n  epochs: 40\n  monitor: val.loss\nrun:\n"
    )
    folder.metrics.write_bytes(b"".join(line_of(epoch, 1 / epoch) for epoch in range(1, 21)))
    run = FollowedRun(tmp_path)
    assert (run.epoch, run.total) == (20, 40)
    assert (run.speed, run.seconds_left) == pytest.approx((10, 2))
    with folder.metrics.open("r+b") as stream:
        stream.truncate(sum(len(line_of(epoch, 1 / epoch)) for epoch in range(1, 11)))
    run.update()
    assert (run.epoch, run.scores["train", "loss"].epochs) == (10, list(range(1, 11)))
    with folder.metrics.open("ab") as stream:
        stream.write(line_of(11, 0.1) + b'{"epoch": 12, "st')
    run.update()
    assert run.epoch == 11


def test_of_a_huge_file_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed_run, "LARGEST_START", 500)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join(map(line_of, range(1, 101))))
    read = [json.loads(line)["epoch"] for line in Tail(path).read().lines]
    assert read == list(range(101 - len(read), 101))
    assert 3 < len(read) < 8


def test_a_curve_has_a_bounded_number_of_points() -> None:
    curve = Curve()
    for epoch in range(1, 100_001):
        curve.add(epoch, epoch / 2)
        assert curve.epochs[-1] == epoch
    assert followed_run.MOST_POINTS / 2 <= len(curve.epochs) <= followed_run.MOST_POINTS
    assert curve.values == [epoch / 2 for epoch in curve.epochs]
    steps = {after - before for before, after in zip(curve.epochs, curve.epochs[1:-1], strict=False)}
    assert len(steps) == 1


@pytest.mark.parametrize("braille", [True, False])
def test_a_plot_fits_and_has_its_ends(braille: bool) -> None:
    xs = list(range(1, 101))
    lines = [Line("train", "cyan", xs, [100 / x for x in xs]), Line("val", "red", xs, [float("nan")] * 100)]
    shown = [line.plain for line in draw_lines("loss", lines, 60, 10, braille)]
    assert len(shown) == 10
    assert max(map(len, shown)) <= 60
    assert shown[0].startswith("loss") and "(log)" in shown[0]
    assert shown[1].strip().startswith("100.0000")
    assert shown[8].strip().startswith("1.0000")
    assert shown[9].split() == ["1", "epoch", "100"]
    marks = [line[9:] for line in shown[1:9]]
    assert marks[0].strip() and marks[0][:2].strip()  # on a log scale 1/x falls from the left to the right
    assert marks[-1].rstrip() and not marks[-1][:2].strip()


def test_a_row_of_bars() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8, False) == "▁▂▃▄▅▆▇█"
    assert len(sparkline([1.0] * 1000, 20, False)) == 20
    assert sparkline([], 20, False) == sparkline([1.0], 20, True) == ""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pty")
def test_ctrl_c_leaves_quietly(outputs: Path) -> None:
    Path(DONE, "summary.json").unlink()  # killed: there may be more to come
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="80", LINES="24")
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # it is ignored where pytest runs in the background
        os.execv(sys.executable, [sys.executable, "-m", "mlpkit", "watch", str(DONE)])
    shown = b""
    while b"killed; mlpkit resume" not in shown:
        assert select.select([terminal], [], [], 60)[0]
        shown += os.read(terminal, 65536)
    os.kill(process, signal.SIGINT)
    after = b""
    try:
        while part := os.read(terminal, 65536):
            after += part
    except OSError:  # its end
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert b"Traceback" not in after and b"interrupted" not in after
    assert b"\x1b[?1049l" in after  # the terminal's own screen is back


def test_a_hundred_runs_are_shown_at_once(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = next(SWEEP.glob("0000-*"))
    for number in range(4, 164):
        copy = SWEEP / f"{number:04d}-aaaaaa"
        copy.mkdir()
        for path in first.iterdir():
            if path.is_file():
                os.link(path, copy / path.name)
    capsys.readouterr()
    assert command(["watch", str(SWEEP)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].endswith("164 runs: 162 done, 2 failed")
    assert shown[-1] == "… and 125 more"
