"""A sweep of two jobs that other machines train, and the same in one process to compare with."""

from pathlib import Path

from running import content

from faults.processes import Running, start_fresh
from mlpkit.folders.run_folder import RunFolder

SWEEP = "outputs/sweep"
MOONS = (
    f"run.dir={SWEEP}", "run.progress=none", "dataset=moons", "dataset.n=60", "model.hidden=[4]",
    "optimizer.lr=0.01,0.05", "seed=range(3)", "run.tensorboard=false", "--runs-per-job=3",
)  # fmt: skip
ARGUMENTS = (*MOONS, "trainer.epochs=12000", "trainer.checkpoint_every=1000")


def sweep(folder: Path, *options: str, before: tuple[str, ...] = ()) -> Running:
    """Start the sweep, by another command if one is given, and wait until all runs have saved once."""
    running = start_fresh(folder, "train", "-m", *ARGUMENTS, *options, before=before)
    while len(list((folder / SWEEP).glob("0*/checkpoints/last.safetensors"))) < 6:
        assert not running.ended_within(0.02), running.stderr()
    return running


def resume(folder: Path) -> None:
    """Resume the sweep by the launcher that it was begun with."""
    resumed = start_fresh(folder, "resume", SWEEP)
    assert resumed.wait() == 0, resumed.stderr()


def check_bits(folder: Path, local: Path) -> None:
    """Check that every run has the bits of the sweep in one process."""
    ours, theirs = (sorted((of / SWEEP).glob("0*-*")) for of in (folder, local))
    assert [path.name for path in ours] == [path.name for path in theirs]
    for path, other in zip(map(RunFolder, ours), map(RunFolder, theirs), strict=True):
        assert content(path.last) == content(other.last)
        assert content(path.best) == content(other.best)
