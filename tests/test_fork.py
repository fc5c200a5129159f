"""fork: branches of a run with the same past, trained together."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Refused
from running import content

from mlpkit.cli.main import run as command
from mlpkit.folders import checkpoint
from mlpkit.folders.fork import Fork, fork_of, read_fork
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.sweep_folder import is_sweep

SMALL = (
    "dataset=moons", "model=mlp", "model.hidden=[4]", "run.loggers=[]", "run.plots=false",
    "run.progress=none", "trainer.batch_size=32", "trainer.epochs=6", "trainer.checkpoint_every=13steps",
    "trainer.keep_last=9",
)  # fmt: skip
RUN = RunFolder(Path("outputs/a/run"))
SWEEP = Path("outputs/a/fork")
RATES = ("-m", "optimizer.lr=0.001,0.1", f"run.dir={SWEEP}")

Branches = Callable[..., list[RunFolder]]


@pytest.fixture
def branches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Branches:
    """Train a run in an empty folder; return a function that forks it, and returns its branches."""
    monkeypatch.chdir(tmp_path)
    assert command(["train", *SMALL, f"run.dir={RUN.path}"]) == 0

    def act(*arguments: str) -> list[RunFolder]:
        assert command(["fork", str(RUN.path), *arguments, *RATES]) == 0
        return [RunFolder(path.parent) for path in sorted(SWEEP.glob("*/config.yaml"))]

    return act


def past(folder: RunFolder, epoch: int) -> list[str]:
    """Return the lines of the epochs before the fork."""
    lines = folder.metrics.read_text().splitlines()
    return [line for line in lines if json.loads(line)["epoch"] <= epoch]


@pytest.mark.long
@pytest.mark.parametrize("step", [26, 20, 37])
def test_branches_have_the_past_of_the_run(step: int, branches: Branches) -> None:
    """Step 26 has a checkpoint, 20 ends an epoch, 37 is in the middle of one."""
    found = branches("--at", str(step))
    epoch = (step - 1) // 10
    assert len(found) == 2
    for folder in found:
        assert past(folder, epoch) == past(RUN, epoch)
        assert read_fork(folder.path) == Fork(str(RUN.path), step, epoch)
        summary = json.loads(folder.summary.read_text())
        assert (summary["status"], summary["epochs"], summary["runs_together"]) == ("done", 6, 2)
    first, second = (checkpoint.load(folder.last).state.model for folder in found)
    run = checkpoint.load(RUN.last).state.model
    assert all(first[name].allclose(run[name], rtol=1e-5, atol=1e-6) for name in run)  # the same lr
    assert not all(second[name].allclose(run[name], atol=1e-2) for name in run)


def test_one_branch_alone_goes_on_to_the_bit(branches: Branches) -> None:
    assert command(["fork", str(RUN.last), "trainer.epochs=8", f"run.dir={SWEEP}"]) == 0
    (branch,) = (RunFolder(path.parent) for path in SWEEP.glob("*/config.yaml"))
    assert command(["resume", str(RUN.path), "trainer.epochs=8"]) == 0
    assert content(branch.last)["tensors"] == content(RUN.last)["tensors"]


@pytest.mark.long
def test_a_branch_is_verified_with_its_fork(branches: Branches, capsys: pytest.CaptureFixture[str]) -> None:
    found = branches("--at", "20")
    for folder in found:
        capsys.readouterr()
        assert command(["verify", str(folder.path)]) == 0
        assert "weights      same bits in " in capsys.readouterr().out
    RUN.path.rename("outputs/a/moved")
    assert command(["verify", str(found[0].path)]) == 65
    problem = f"{found[0].path}: a fork of {RUN.path}, which is missing; bring it back\n"
    assert capsys.readouterr().err.endswith(problem)


def test_a_fork_is_found_from_any_folder(
    branches: Branches, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also after all runs have moved: its path is that from the branch."""
    found = branches("--at", "26")
    assert json.loads(found[0].fork.read_text())["run"] == "../../run"
    Path("outputs").rename("moved")
    monkeypatch.chdir("moved/a/fork")
    assert command(["verify", found[0].path.name]) == 0
    assert read_fork(Path(found[0].path.name)) == Fork(str(Path("../run").resolve()), 26, 2)


def test_a_run_with_branches_is_not_cleaned(branches: Branches, capsys: pytest.CaptureFixture[str]) -> None:
    branches("--at", "26")
    capsys.readouterr()
    assert command(["clean", "--older-than=0h", "--yes"]) == 0
    assert "kept: 1 run (has branches)" in capsys.readouterr().out
    assert RUN.is_run


@pytest.mark.long
def test_branches_may_have_other_schedulers(branches: Branches) -> None:
    place = ("-m", "--at", "26", f"run.dir={SWEEP}")
    assert command(["fork", str(RUN.path), "scheduler=cosine,none,plateau", *place]) == 0
    found = [RunFolder(path.parent) for path in sorted(SWEEP.glob("*/config.yaml"))]
    names = [checkpoint.load(folder.last).config.scheduler.name for folder in found]
    assert names == ["cosine", "none", "plateau"]
    losses = [json.loads(folder.summary.read_text())["best"]["val"]["loss"] for folder in (found[1], RUN)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert command(["verify", str(found[0].path)]) == 0


@pytest.mark.long
def test_plot_draws_the_tree(branches: Branches, capsys: pytest.CaptureFixture[str]) -> None:
    found = branches("--at", "26")
    capsys.readouterr()
    assert command(["plot", str(SWEEP)]) == 0
    assert capsys.readouterr().out == f"{SWEEP}/plots/tree.png\n"
    assert (SWEEP / "plots" / "tree.png").stat().st_size > 10_000
    assert command(["inspect", str(found[0].path)]) == 0
    assert f"forked from {RUN.path} at step 26\n" in capsys.readouterr().out
    assert command(["plot", str(found[0].path)]) == 0  # a branch is a run
    found[0].fork.write_text('{"run": 3}')
    assert fork_of(SWEEP) is None


def test_a_fork_that_is_stopped_before_it_trains_is_no_sweep(
    branches: Branches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its runs can be resumed, and goes on from the fork."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mlpkit.sweeps.fork.write_ledger", stopped)
        assert command(["fork", str(RUN.path), "--at", "26", *RATES]) == 130
    assert not is_sweep(SWEEP)
    folder = RunFolder(min(SWEEP.iterdir()))
    assert command(["resume", str(folder.path)]) == 0
    assert "resumed from last.safetensors: epoch 2, step 26" in folder.log.read_text()


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["dataset.noise=0.2"], 2, "dataset.noise=0.2: the run has 0.1, and a fork keeps data, model and "),
        (["model.hidden=[8]"], 2, "model.hidden=[8]: the run has [4], and a fork keeps data, "),
        (["trainer.batch_size=16"], 2, "trainer.batch_size=16: the run has 32, and a fork keeps "),
        (["seed=3"], 2, "seed=3: the run has 0, and a fork keeps "),
        (["optimizer.lr=0.1", "--at", "61"], 2, "--at=61: the run has 60 steps; choose 1 to 60"),
        (["optimizer.lr=0.1"], 2, "trainer.epochs=6: the run has done 6; choose more, or fork it "),
        (["optimizer.lr=0.1,0.2", "--at", "26"], 2, "optimizer.lr=0.1,0.2: "),
        (["optimizer.lrr=0.1", "--at", "26"], 2, "optimizer.lrr: unknown key; did you mean optimizer.lr?"),
        (["--at", "26"], 2, "fork: no setting is changed; add one, such as optimizer.lr=0.01"),
    ],
)  # fmt: skip
def test_what_may_not_change_is_refused(
    arguments: list[str], code: int, problem: str, branches: Branches, refused: Refused
) -> None:
    assert refused("fork", str(RUN.path), *arguments, code=code).startswith(problem)


def test_a_run_that_cannot_be_repeated_is_forked_at_its_checkpoints(
    branches: Branches, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.loads(line) for line in RUN.metrics.read_text().splitlines()]
    lines[0]["loss"] = 0.5
    RUN.metrics.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    capsys.readouterr()
    assert command(["fork", str(RUN.path), "--at", "20", "optimizer.lr=0.1"]) == 65
    first, second = capsys.readouterr().err.splitlines()
    assert first == "no checkpoint is at step 20: training up to there again"
    assert second.startswith(f"mlpkit: {RUN.path}: trained again, it has other scores from epoch 1 on; ")
    assert second.endswith("fork it at a checkpoint: --at 60, 52, 39, 26, 13")
