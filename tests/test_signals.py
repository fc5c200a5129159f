"""Whatever asks a training to end is heard: the run is saved, and what it has not begun is not begun."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.processes import Running, end_all, start_fresh

from mlpkit.cli.main import run as command
from mlpkit.engines.engine import Engine
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.sweeps.datasets import Datasets
from mlpkit.system.plain_json import read_object
from mlpkit.training.stop import NUMBERS, StopRequest

SMALL = (
    "dataset=moons", "model=mlp", "model.hidden=[4]", "run.dir=outputs/mine", "run.plots=false",
    "run.tensorboard=false", "run.progress=none",
)  # fmt: skip
MINE = RunFolder(Path("outputs/mine"))
ENDLESS = ("trainer.epochs=100000000", "trainer.checkpoint_every=1000steps", "trainer.compile=false")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    end_all()


def wait_for(path: Path, running: Running) -> None:
    while not (path.exists() and path.stat().st_size):
        assert not running.ended_within(0.01), running.stderr()


@pytest.mark.parametrize("number", NUMBERS)
def test_each_signal_ends_a_run_after_its_step(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.signal(number, signal.default_int_handler)  # heard, however pytest was started
    check, calls = StopRequest.check, iter(range(1, 10**9))

    def counted(request: StopRequest) -> None:
        if next(calls) == 5:
            signal.raise_signal(number)
        check(request)

    monkeypatch.setattr(StopRequest, "check", counted)
    try:
        assert command(["train", *SMALL]) == 128 + number
    finally:
        signal.signal(number, before)
    found = checkpoint.load(MINE.last).state.progress
    way_on = "saved; to go on: mlpkit resume outputs/mine"
    said = f"mlpkit: interrupted after epoch {found.epoch}, step {found.step}; {way_on}\n"
    assert capsys.readouterr().err == said
    assert read_object(MINE.summary)["status"] == "interrupted"


@pytest.mark.long
def test_a_signal_before_anything_begins_ends_it_with_its_code(tmp_path: Path) -> None:
    """Git is asked first, and may take long."""
    binary = tmp_path / "bin"
    binary.mkdir()
    (binary / "git").write_text(f"#!/bin/sh\necho asked > {tmp_path}/asked\nexec sleep 60\n")
    (binary / "git").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{binary}:{os.environ['PATH']}")
        running = start_fresh(tmp_path, "train", *SMALL)
    wait_for(tmp_path / "asked", running)
    began = time.monotonic()
    running.send(signal.SIGHUP)
    assert (running.wait(), running.stderr()) == (128 + signal.SIGHUP, "mlpkit: interrupted\n")
    assert time.monotonic() - began < 2
    assert not MINE.path.exists()


@pytest.mark.long
def test_nohup_is_respected(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        running = start_fresh(tmp_path, "train", *SMALL, "trainer.epochs=4000")
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for(MINE.config, running)
    running.send(signal.SIGHUP)
    assert (running.wait(), running.stderr()) == (0, "")
    assert read_object(MINE.summary)["epochs"] == 4000


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["vectorized", "processes"])
def test_a_closed_terminal_lets_a_sweep_save(launcher: str, tmp_path: Path) -> None:
    options = (*SMALL, *ENDLESS, "seed=0,1", f"--launcher={launcher}")
    number, terminal = pty.fork()
    if number == 0:
        os.execv(sys.executable, [sys.executable, "-m", "mlpkit", "train", "-m", *options])
    while len(found := list(tmp_path.glob("outputs/mine/*/checkpoints/last.safetensors"))) < 2:
        if select.select([terminal], [], [], 0.05)[0]:
            os.read(terminal, 65536)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 128 + signal.SIGHUP
    for path in found:
        run = RunFolder(path.parents[1])
        assert checkpoint.load(run.last).state.progress.step > 0
        assert read_object(run.summary)["status"] == "interrupted"


def test_a_signal_is_heard_between_two_datasets_of_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    load, loaded = Datasets.load, []

    def counted(datasets: Datasets, config: object) -> object:
        loaded.append(config)
        if len(loaded) == 2:
            signal.raise_signal(signal.SIGTERM)
        return load(datasets, config)  # type: ignore[arg-type]

    monkeypatch.setattr(Datasets, "load", counted)
    assert command(["train", "-m", *SMALL, "dataset.seed=range(50)"]) == 143
    assert len(loaded) == 2


@pytest.mark.long
def test_the_word_of_slurm_comes_through_once_the_run_is_saved(tmp_path: Path) -> None:
    """Submitit lets its job be queued again, which on its stand-in for Slurm is to be started again."""
    options = ("--launcher=slurm", "--slurm=cluster=local")
    sweep = start_fresh(tmp_path, "train", "-m", *SMALL, "trainer.epochs=8000", "seed=0", *options)
    while not (found := list(tmp_path.glob("outputs/mine/0000-*"))):
        assert not sweep.ended_within(0.01), sweep.stderr()
    first = RunFolder(found[0])
    wait_for(first.metrics, sweep)
    os.kill(int(first.lock.read_text().split()[1]), signal.SIGUSR2)
    assert (sweep.wait(), sweep.stderr()) == (0, "")
    assert "interrupted after epoch" in first.log.read_text()
    assert "resumed from last.safetensors" in first.log.read_text()
    assert read_object(first.summary)["epochs"] == 8000


def test_a_run_that_was_killed_before_it_began_begins_anew(capsys: pytest.CaptureFixture[str]) -> None:
    MINE.path.mkdir(parents=True)
    for left in (MINE.config, MINE.lock, MINE.path / ".config.yaml.k3j.tmp"):
        left.touch()
    assert command(["resume", "outputs/mine"]) == 65
    way_on = "this run was killed before it began; train it anew into the same folder"
    assert capsys.readouterr().err == f"mlpkit: outputs/mine: {way_on}\n"
    assert command(["train", *SMALL, "trainer.epochs=2"]) == 0
    assert read_object(MINE.summary)["status"] == "done"


@pytest.mark.long
def test_a_run_that_is_killed_from_its_first_instant_on_can_be_resumed(tmp_path: Path) -> None:
    arguments = ["train", *SMALL, "trainer.epochs=2"]
    script = (
        "from faults.prepare import die_in; from mlpkit.cli.main import run; "
        f"die_in('mlpkit.training.start', 'record_setup'); run({arguments})"
    )
    tests = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    assert (
        subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=tests).returncode == -signal.SIGKILL
    )
    assert command(["resume", "outputs/mine"]) == 0
    assert read_object(MINE.summary)["status"] == "done"


def test_a_stream_that_has_gone_hinders_no_signal(tmp_path: Path) -> None:
    """The line that says so cannot be written."""
    script = (
        "import signal; from mlpkit.training.stop import leave_at_once; "
        "leave_at_once(); signal.raise_signal(15)"
    )
    done = subprocess.run(f"{sys.executable} -c '{script}' 2>/dev/full", shell=True)
    assert done.returncode == 143


def test_a_run_that_has_ended_lets_signals_stop_the_next_one_after_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two groups of one run each: what the first still writes is no reason to stop the next in mid-step."""
    step, steps = Engine.step, iter(range(1, 10**9))

    def counted(engine: Engine, *arguments: Any, **named: Any) -> dict[int, str]:
        if next(steps) == 8:  # the fourth of the second run
            signal.raise_signal(signal.SIGTERM)
        return step(engine, *arguments, **named)

    monkeypatch.setattr(Engine, "step", counted)
    options = ("model.activation=relu,tanh", "trainer.epochs=4", "trainer.checkpoint_every=100")
    assert command(["train", "-m", *SMALL, *options]) == 143
    first, second = (RunFolder(path) for path in sorted(tmp_path.glob("outputs/mine/0*-*")))
    assert read_object(first.summary)["status"] == "done"
    assert read_object(second.summary)["status"] == "interrupted"
    assert checkpoint.load(second.last).state.progress.step == 4
