"""What a sweep needs for each run stays small: memory, bytes of the ledger, open files."""

import sys
from pathlib import Path
from typing import Any

import pytest

from mlpkit.cli.compose import Request
from mlpkit.cli.main import run as command
from mlpkit.cli.plan import plan
from mlpkit.engines.engine import Engine
from mlpkit.sweeps.groups import FILES, OTHER_FILES
from mlpkit.sweeps.ledger import Ledger, write_ledger

MOONS = ("dataset=moons", "model.hidden=[2]", "trainer.epochs=2", "run.plots=false", "run.progress=none")
LEDGER_BYTES = 3_000  # of a run
RUNS = 12


def open_files() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_equal_sections_of_a_sweep_are_one_object(tmp_path: Path) -> None:
    jobs = plan(Request(("dataset=moons", "optimizer.lr=0.1,0.2", "seed=range(3)"))).jobs
    write_ledger(tmp_path / "ledger.sqlite", jobs)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        stored = [entry.config for entry in ledger.entries()]
    assert stored == [job.config for job in jobs]
    for configs in ([job.config for job in jobs], stored):
        assert len({id(config.model) for config in configs}) == 1
        assert len({id(config.run) for config in configs}) == 1
        assert len({id(config.optimizer) for config in configs}) == 2
        assert sorted({config.seed for config in configs}) == [0, 1, 2]


def test_a_run_takes_few_bytes_of_the_ledger(tmp_path: Path) -> None:
    sizes = []
    for number in (100, 400):
        path = tmp_path / f"{number}.sqlite"
        write_ledger(path, plan(Request(("dataset=moons", f"seed=range({number})"))).jobs)
        sizes.append(path.stat().st_size)
    assert (sizes[1] - sizes[0]) / 300 < LEDGER_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="counts the entries of /proc")
@pytest.mark.parametrize(("files", "per_run"), [("all", FILES), ("minimal", 1)])
def test_open_files_are_those_of_the_runs_that_train(
    files: str, per_run: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # What a process opens once, at its first sweep, is open before anything is counted.
    assert command(["train", "-m", *MOONS, f"run.files={files}", "seed=0,1", "run.dir=first"]) == 0
    counts, take_step = list[int](), Engine.step

    def step(engine: Engine, *args: Any, **options: Any) -> Any:
        counts.append(open_files())
        return take_step(engine, *args, **options)

    monkeypatch.setattr(Engine, "step", step)
    before = open_files()
    sweep = ("train", "-m", *MOONS, f"run.files={files}", f"seed=range({RUNS})", "run.dir=sweep")
    assert command([*sweep, "--launcher", "vectorized", "--runs-per-job", "4"]) == 0
    assert len(counts) == 2 * RUNS // 4
    assert max(counts) <= before + 4 * per_run + OTHER_FILES // 10
    assert open_files() <= before + 1


def test_a_minimal_sweep_has_one_file_for_each_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["train", "-m", *MOONS, "run.files=minimal", f"seed=range({RUNS})", "run.dir=sweep"]) == 0
    files = [path.relative_to("sweep") for path in Path("sweep").rglob("*") if path.is_file()]
    assert sorted(path.as_posix() for path in files if len(path.parts) == 1) == [
        "command.txt",
        "ledger.sqlite",
        "overrides.yaml",
    ]
    assert sum(path.match("0*/checkpoints/last.safetensors") for path in files) == RUNS == len(files) - 3
