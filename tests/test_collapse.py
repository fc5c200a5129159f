"""A run whose threads wait for cores that others have goes on with fewer; nothing else makes it do so."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from running import config
from test_resume import MINE, files

from mlpkit.cli.main import run as command
from mlpkit.engines.engine import Engine
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system import collapse, device, free_cores
from mlpkit.system.collapse import LOOK, CollapseWatch
from mlpkit.system.plain_json import read_object
from mlpkit.training.build import build
from mlpkit.training.recorder import Recorder
from mlpkit.training.stop import StopRequest
from mlpkit.training.trainer import Trainer

STEP = 0.001  # seconds


@dataclass
class Machine:
    """A clock, the processor time of this process, and how many cores others leave free."""

    clock: float = 100.0
    computed: float = 7.0
    free: float = 2.0
    answers: list[int] = field(default_factory=list)

    def steps(self, watch: CollapseWatch, seconds: float, step: float = STEP, cores: float = 2.0) -> None:
        """Take steps for some seconds, each so long, with so many cores computing."""
        until = self.clock + seconds
        while self.clock < until:
            self.clock += step
            self.computed += step * cores
            if threads := watch.after_step():
                self.answers.append(threads)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(collapse, "perf_counter", lambda: made.clock)
    monkeypatch.setattr(collapse, "process_time", lambda: made.computed)

    class Load:
        def free(self) -> float:
            return made.free

    monkeypatch.setattr(collapse, "Load", Load)
    return made


def test_a_collapse_is_noticed_within_a_second(machine: Machine) -> None:
    """As measured: a busy neighbour on two cores, steps five times as long, one core computing."""
    watch = CollapseWatch(2)
    machine.steps(watch, 2)
    machine.free = 1.0
    machine.steps(watch, 5 * LOOK, 5 * STEP, cores=1)
    assert machine.answers == [1]
    machine.steps(watch, 60, 5 * STEP, cores=1)
    assert machine.answers == [1]


def test_steps_that_take_seconds(machine: Machine) -> None:
    """As with OpenMP's own spin and four neighbours: a hundred times as long."""
    watch = CollapseWatch(2)
    machine.steps(watch, 2)
    machine.free = 0.6
    machine.steps(watch, 0.5, 100 * STEP, cores=0.6)
    machine.steps(watch, 1, 100 * STEP, cores=0.6)
    assert machine.answers == [1]


def test_as_many_are_left_as_are_free(machine: Machine) -> None:
    watch = CollapseWatch(8)
    machine.steps(watch, 2, cores=8)
    machine.free = 5.2
    machine.steps(watch, 2, 5 * STEP, cores=7)
    assert machine.answers == [5]
    machine.steps(watch, 60, 2 * STEP, cores=5)  # fewer threads take longer, and that is all
    assert machine.answers == [5]
    machine.free = 2.0
    machine.steps(watch, 3, 9 * STEP, cores=5)
    assert machine.answers == [5, 2]


@pytest.mark.parametrize(
    ("what", "free", "step", "cores"),
    [
        ("a slow disk, and a busy neighbour", 1.0, 20 * STEP, 0.1),
        ("an evaluation on a quiet machine", 2.0, 20 * STEP, 1.0),
        ("a processor that is too hot", 2.0, 3 * STEP, 2.0),
        ("a neighbour that is no harm", 1.0, 1.8 * STEP, 1.5),
    ],
)
def test_no_collapse(what: str, free: float, step: float, cores: float, machine: Machine) -> None:
    watch = CollapseWatch(2)
    machine.steps(watch, 2)
    machine.free = free
    machine.steps(watch, 10, step, cores)
    assert machine.answers == [], what


def test_a_stopped_process_is_no_collapse(machine: Machine) -> None:
    watch = CollapseWatch(2)
    machine.free = 1.0
    for _ in range(20):
        machine.steps(watch, 0.4)
        machine.clock += 30
    assert machine.answers == []


def test_one_thread_is_not_watched(machine: Machine) -> None:
    watch = CollapseWatch(1)
    machine.free = 0.2
    machine.steps(watch, 1)
    machine.steps(watch, 10, 9 * STEP)
    assert machine.answers == []


# ------------------------------------------------------------------------------------------ in a run

# Two threads round otherwise than one does, on most processors.
WIDE = (
    *("dataset=digits", "model=mlp", "model.hidden=[512]", "trainer.batch_size=256", "trainer.epochs=3"),
    *("trainer.matmul=highest", "run.dir=outputs/mine", "run.plots=false", "run.tensorboard=false"),
)


@pytest.fixture
def two_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, and a process in which `auto` takes two threads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(device, "_auto_threads", 2)
    monkeypatch.setattr(free_cores, "free", lambda: 2.0)
    before = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(before)


def collapse_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the watch say so, once."""
    answers = iter([None] * (steps - 1) + [1])
    monkeypatch.setattr(CollapseWatch, "after_step", lambda watch: next(answers, None))


def test_it_is_said_and_written_down(
    two_threads: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    collapse_after(7, monkeypatch)
    assert command(["train", *WIDE]) == 0
    assert torch.get_num_threads() == 1
    line = "from step 7 on 1 thread instead of 2 (trainer.threads=2 keeps them)"
    assert capsys.readouterr().out.count(line) == MINE.log.read_text().count(line) == 1
    assert read_object(MINE.environment)["threads"] == 1
    assert "  threads: auto\n" in MINE.config.read_text()


@pytest.mark.long
@pytest.mark.parametrize("steps", [5, *(pytest.param(steps, marks=pytest.mark.long) for steps in (2, 7))])
@pytest.mark.parametrize("stopped", [0, 1, 4])
def test_a_run_that_has_taken_fewer_goes_on_identically(
    steps: int, stopped: int, two_threads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at once, after one more step, and after the next evaluation."""
    found = []
    for name in ("whole", "stopped"):
        (two_threads / name).mkdir()
        monkeypatch.chdir(two_threads / name)
        with monkeypatch.context() as patch:
            collapse_after(steps, patch)
            if name == "whole":
                assert command(["train", *WIDE]) == 0
            else:
                after_steps(steps + stopped, patch)
                assert command(["train", *WIDE]) == 143
                assert command(["resume"]) == 0
        assert read_object(MINE.environment)["threads"] == 1
        found.append(files())
    assert found[0] == found[1]


def after_steps(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a real SIGTERM arrive after so many steps, behind what the watch has said."""
    step, taken = Engine.step, iter(range(1, 10**9))

    def counted(engine: Engine, *arguments: Any, **named: Any) -> dict[int, str]:
        if next(taken) == steps + 1:
            signal.raise_signal(signal.SIGTERM)
        return step(engine, *arguments, **named)

    monkeypatch.setattr(Engine, "step", counted)


def test_a_number_that_was_asked_for_is_not_changed(two_threads: Path) -> None:
    assert (watched("trainer.threads=2"), watched()) == (1, 2)


def watched(*overrides: str) -> int:
    """Return how many threads of a run's are watched."""
    engine = build([config(*WIDE, *overrides)])
    recorder = Recorder(engine.experiments[0], MINE, None)
    return Trainer(engine, [recorder], StopRequest(), lambda recorder, error: None).watch.threads


def test_runs_that_are_trained_together_take_fewer_as_well(
    two_threads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collapse_after(7, monkeypatch)
    assert command(["train", "-m", *WIDE, "seed=0,1"]) == 0
    runs = [RunFolder(path) for path in sorted(MINE.path.glob("0*-*"))]
    assert [read_object(run.environment)["threads"] for run in runs] == [1, 1]
    line = "from step 7 on 1 thread instead of 2 (trainer.threads=2 keeps them)"
    assert [run.log.read_text().count(line) for run in runs] == [1, 1]
