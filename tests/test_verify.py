"""verify: what is the same when a run is trained again, and how often its test split was looked at."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlpkit.cli.main import run as command
from mlpkit.folders import checkpoint
from mlpkit.folders.looks import NAME, looks_at
from mlpkit.folders.run_folder import RunFolder

MOONS = (
    "dataset=moons",
    "model=mlp",
    "model.hidden=[4]",
    "run.loggers=[]",
    "run.plots=false",
    "run.progress=none",
)
BATCHES = (
    "trainer.batch_size=32",
    "trainer.checkpoint_every=7steps",
    "trainer.keep_last=9",
    "trainer.epochs=3",
)
RUN = RunFolder(Path("outputs/a/run"))

Verify = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Verify a run in an empty folder; return the exit code, and what was found by what was checked."""
    monkeypatch.chdir(tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def act(*arguments: str) -> tuple[int, dict[str, str]]:
        capsys.readouterr()
        code = command(["verify", *arguments])
        lines = capsys.readouterr().out.splitlines()
        pairs = (line.partition("  ") for line in lines[1:-1])
        return code, {name: text.strip() for name, _, text in pairs} | {"end": lines[-1]}

    return act


def train(*overrides: str) -> None:
    """Train the moons into `RUN`."""
    assert command(["train", *MOONS, f"run.dir={RUN.path}", *overrides]) == 0


def test_the_same_run_has_the_same_bits(verify: Verify, tmp_path: Path) -> None:
    train(*BATCHES, "model.dropout=0.2")
    code, found = verify(str(RUN.path))
    assert (code, found["end"]) == (0, "verified")
    assert found["weights"].startswith("same bits in ")
    assert found["scores"] == "same in 3 logged epochs"
    assert found["environment"] == "same"
    assert found["overlap"] == "0 of 100 test rows are equal to a training row"
    assert found["test split"].startswith("looked at 1 time, of one run or sweep, since 20")
    assert not list((tmp_path / "temporary").iterdir())
    verify(str(RUN.path), "--keep")
    (kept,) = (tmp_path / "temporary").iterdir()
    assert RunFolder(kept / "run").last.exists()


def test_every_checkpoint_can_be_verified(verify: Verify) -> None:
    """Also one from the middle of an epoch: the training stops at its step."""
    train(*BATCHES)
    steps = [path for path in RUN.last.parent.iterdir() if path != RUN.last]
    assert len(steps) >= 3
    for path in steps:
        code, found = verify(str(path))
        assert (code, found["weights"].partition(" in ")[0]) == (0, "same bits")


def test_a_resumed_run_is_verified(verify: Verify) -> None:
    train(*BATCHES)
    assert command(["resume", str(RUN.path), "trainer.epochs=5"]) == 0
    code, found = verify(str(RUN.path))
    assert (code, found["scores"]) == (0, "same in 5 logged epochs")
    assert found["test split"].startswith("looked at 2 times, of one run or sweep, ")


def test_other_bits_are_named(verify: Verify) -> None:
    train("trainer.epochs=3")
    stored = checkpoint.load(RUN.last, checkpoint.KINDS)
    name = sorted(stored.state.model)[0]
    stored.state.model[name].view(-1)[0] += 1
    checkpoint.save(RUN.last, stored)
    lines = [json.loads(line) for line in RUN.metrics.read_text().splitlines()]
    lines[2]["loss"] = 0.25
    RUN.metrics.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    about = json.loads(RUN.environment.read_text())
    RUN.environment.write_text(json.dumps({**about, "cores": 1000}))
    code, found = verify(str(RUN.path))
    assert (code, found["end"]) == (1, "not verified: scores, weights")
    assert found["scores"].startswith("differ from epoch 2 on: train loss 0.25 before, 0.")
    assert found["weights"].startswith("1 of ")
    assert f" tensors differ, first model/{name}; at most by " in found["weights"]
    assert found["environment"].startswith("differs: cores ")
    assert found["environment"].endswith(" (was 1000)")


def test_other_data_are_named(verify: Verify) -> None:
    rows = [f"{i},{i % 7},{i * 3 % 11}" for i in range(60)]
    Path("own.csv").write_text("\n".join(["a,b,y", *rows]))
    table = ("train", "data=own.csv", "target=y", "trainer.epochs=2", f"run.dir={RUN.path}", *MOONS[3:])
    assert command([*table, "model=linear"]) == 0
    assert verify(str(RUN.path))[0] == 0
    Path("own.csv").write_text("\n".join(["a,b,y", *rows[:-1], "59,3,100"]))
    code, found = verify(str(RUN.path))
    assert (code, found["end"]) == (1, "not verified: data")
    assert "not trained again" in found["data"]
    assert "weights" not in found


def test_test_rows_among_the_training_rows_are_counted(verify: Verify) -> None:
    rows = [f"{i % 20},{i % 20 * 1.5}" for i in range(100)]
    Path("own.csv").write_text("\n".join(["a,y", *rows]))
    table = ("train", "data=own.csv", "target=y", "trainer.epochs=2", f"run.dir={RUN.path}", *MOONS[3:])
    assert command([*table, "model=linear"]) == 0
    code, found = verify(str(RUN.path))
    assert (code, found["end"]) == (1, "not verified: overlap")
    assert found["weights"].startswith("same bits")


def test_a_run_of_a_sweep_is_trained_as_the_sweep_trained_it(verify: Verify) -> None:
    sweep = ("train", "-m", *MOONS, "trainer.epochs=20", "optimizer.lr=0.01,0.1", "seed=0,1")
    assert command([*sweep, "run.dir=outputs/a/sweep"]) == 0
    for path in Path("outputs/a/sweep").glob("*/summary.json"):
        assert json.loads(path.read_text())["runs_together"] == 4
        code, found = verify(str(path.parent))
        assert (code, found["weights"]) == (
            0,
            "same bits in 24 tensors" if "best" in found else found["weights"],
        )
        assert found["weights"].startswith("same bits")
        assert found["test split"].startswith("looked at 1 time, of one run or sweep, ")


def test_a_run_that_was_taken_out_of_its_sweep_may_round_otherwise(verify: Verify) -> None:
    sweep = ("train", "-m", *MOONS, "trainer.epochs=20", "seed=0,1", "run.dir=outputs/a/sweep")
    assert command(sweep) == 0
    Path(next(Path("outputs/a/sweep").glob("0000-*"))).rename(RUN.path)
    code, found = verify(str(RUN.path))
    assert (code, found["trained with"]) == (
        0,
        "1 other run before, 0 now; differences up to 1e-03 are accepted",
    )


def test_looks_at_the_test_split_are_counted(verify: Verify) -> None:
    train("trainer.epochs=1")
    fingerprint = checkpoint.read_header(RUN.last).fingerprint
    for split in ("test", "val", "test"):
        assert command(["evaluate", str(RUN.path), "--split", split]) == 0
        assert command(["predict", str(RUN.path), "--split", split, "--output", f"{split}.csv"]) == 0
    assert command(["resume", str(RUN.path)]) == 0  # nothing is left to train
    sweep = ("train", "-m", *MOONS, "trainer.epochs=1", "seed=0,1,2", "run.dir=outputs/b/sweep")
    assert command(sweep) == 0
    looks = looks_at(RUN.path, fingerprint)
    assert [look.path for look in looks] == [*["a/run"] * 5, "b/sweep"]
    with Path("outputs", NAME).open("a") as stream:
        stream.write('{"time": 3}\n[1]\n{"time": "20')  # foreign lines, and a part of one
    assert len(looks_at(RUN.path, fingerprint)) == 6
    assert len(looks_at(RUN.path, "another")) == 0


def test_nothing_is_written_beside_a_run_outside_of_run_root(verify: Verify) -> None:
    assert command(["train", *MOONS, "trainer.epochs=1", "run.dir=elsewhere/mine"]) == 0
    assert not Path("outputs").exists()
    assert [path.name for path in Path("elsewhere").iterdir()] == ["mine"]


def test_a_look_that_cannot_be_recorded_is_said(verify: Verify, capsys: pytest.CaptureFixture[str]) -> None:
    Path("outputs").mkdir()
    Path("other").write_text("")
    Path("outputs", NAME).symlink_to(Path("other").resolve())
    train("trainer.epochs=1")
    assert "warning: this look at the test split is not counted: " in capsys.readouterr().err
    assert Path("other").read_text() == ""


def test_the_newest_run_is_verified_and_data_without_a_fingerprint_is_not(verify: Verify) -> None:
    train("trainer.epochs=4")
    assert verify()[0] == 0
    checkpoint.save(RUN.last, replace(checkpoint.load(RUN.last, checkpoint.KINDS), fingerprint=""))
    assert verify()[1]["data"] == "not stored"
