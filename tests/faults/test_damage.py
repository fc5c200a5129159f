"""Every damage to a checkpoint is noticed, and an older checkpoint takes its place where there is one."""

import random
import shutil
from pathlib import Path

import pytest
from running import QUIET, TRAIN, config

from faults.counts import count
from mlpkit.cli.main import run as command
from mlpkit.errors import DataError, RunInterruptedError
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.console import make_console
from mlpkit.training.start import run
from mlpkit.training.stop import StopRequest

STEPS = 3  # of an epoch
SETTINGS = (
    "dataset=moons",
    "dataset.n=60",
    "model=mlp",
    "model.hidden=[4]",
    "optimizer.lr=0.3",  # so high that the newest weights are not the best
    "trainer.batch_size=12",
    "trainer.epochs=9",
    "trainer.checkpoint_every=1",
    "run.tensorboard=false",
    "run.plots=false",
)

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was stopped within its eighth epoch."""
    root, steps = tmp_path_factory.mktemp("stopped"), 0

    def stop(request: StopRequest) -> None:
        nonlocal steps
        steps += 1  # asked after each step
        if steps == 7 * STEPS + 2:
            raise RunInterruptedError(2)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RunInterruptedError):
        patch.setattr(StopRequest, "check", stop)
        run(
            config(f"run.root={root}", "run.dir=" + str(root / "run"), *QUIET, *SETTINGS),
            TRAIN,
            make_console(),
            print,
        )
    return RunFolder(root / "run")


@pytest.fixture
def folder(stopped: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of it; its checkpoint is damaged by those that use it."""
    return RunFolder(shutil.copytree(stopped.path, tmp_path / "run"))


def problem(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        checkpoint.load(path, checkpoint.KINDS)
    (line,) = caught.value.args
    return str(line)


def test_the_checkpoint_holds_tensors_of_all_kinds(stopped: RunFolder) -> None:
    state = checkpoint.load(stopped.last, checkpoint.KINDS).state
    assert state.model and state.optimizer and state.epoch and state.best
    assert (state.progress.epoch, state.progress.batch) == (7, 2)
    assert [path.name for path in stopped.older()] == ["step-000000021.safetensors"]


def test_every_flipped_bit_is_noticed(folder: RunFolder) -> None:
    content, draw = folder.last.read_bytes(), random.Random(5)
    places = draw.sample(range(8 * len(content)), count(200, 1000))
    for place in places:
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        folder.last.write_bytes(damaged)
        line = problem(folder.last)
        assert line.startswith(f"{folder.last}: ") and line.isprintable(), f"bit {place}: {line!r}"


def test_every_truncation_is_noticed(folder: RunFolder) -> None:
    content, draw = folder.last.read_bytes(), random.Random(6)
    lengths = [0, 1, 7, 8, 9, len(content) - 1, *draw.sample(range(10, len(content) - 1), count(54, 294))]
    for length in lengths:
        folder.last.write_bytes(content[:length])
        line = problem(folder.last)
        assert line.startswith(f"{folder.last}: ") and line.isprintable(), f"{length} bytes: {line!r}"


def damage(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if draw.random() < 0.5:
        content = content[: draw.randrange(len(content))]
    else:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def arguments(name: str, path: Path) -> list[str]:
    """Return a command line that opens a run's newest checkpoint, or the one that is named."""
    chosen = ["--checkpoint", "last"]
    options = {"predict": ["--values", "0.3,0.5", *chosen], "inspect": chosen, "evaluate": chosen}
    return [name, str(path), *options.get(name, [])]


@pytest.mark.parametrize("case", range(count(1, 12)))
@pytest.mark.parametrize("name", ["resume", "predict", "inspect", "evaluate"])
def test_an_older_checkpoint_serves(folder: RunFolder, name: str, case: int, capsys: Captured) -> None:
    damage(folder.last, random.Random(f"{name} {case}"))
    assert command(arguments(name, folder.path)) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert line.startswith(f"warning: {folder.last}: ")
    assert line.endswith("; using step-000000021.safetensors (epoch 7) instead")
    if name == "resume":  # it has gone on to the end
        assert checkpoint.load(folder.last, checkpoint.KINDS).state.progress.epoch == 9


@pytest.mark.parametrize("case", range(count(1, 12)))
@pytest.mark.parametrize("name", ["resume", "predict", "inspect", "evaluate"])
def test_a_named_checkpoint_is_the_only_one(
    folder: RunFolder, name: str, case: int, capsys: Captured
) -> None:
    damage(folder.last, random.Random(f"{name} {case}"))
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert command(arguments(name, folder.last)) == 65
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.startswith(f"mlpkit: {folder.last}: ") and said.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("case", range(count(1, 12)))
@pytest.mark.parametrize("name", ["resume", "predict", "inspect", "evaluate"])
def test_no_checkpoint_is_whole(folder: RunFolder, name: str, case: int, capsys: Captured) -> None:
    draw = random.Random(f"{name} {case}")
    for path in folder.last.parent.iterdir():
        damage(path, draw)
    assert command(arguments(name, folder.path)) == 65
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.startswith(f"mlpkit: {folder.last}: ") and said.count("\n") == 1
