"""A run that goes on equals the run that never stopped; what would make another run of it is refused."""

import json
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from running import content

from mlpkit.cli.main import run as command
from mlpkit.errors import WriteError
from mlpkit.folders import checkpoint
from mlpkit.folders.results import read_result
from mlpkit.folders.run_folder import RunFolder
from mlpkit.training.stop import StopRequest

SMALL = (
    "dataset=moons", "dataset.n=100", "model.hidden=[4]", "model.dropout=0.1", "trainer.batch_size=16",
    "run.dir=outputs/mine", "run.plots=false", "run.tensorboard=false", "run.progress=none",
)  # fmt: skip
MINE = RunFolder(Path("outputs/mine"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    return tmp_path


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a real SIGTERM arrive after so many steps of the next run."""
    check, calls = StopRequest.check, iter(range(1, 10**9))

    def counted(self: StopRequest) -> None:
        if next(calls) == steps:
            signal.raise_signal(signal.SIGTERM)
        check(self)

    monkeypatch.setattr(StopRequest, "check", counted)


def interrupted(steps: int, *overrides: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_after(steps, patch)
        assert command(["train", *SMALL, *overrides]) == 143


def files(folder: RunFolder = MINE) -> dict[str, Any]:
    """Return what must be equal: checkpoints and metrics, but for the time that training took."""
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    return {"last": content(folder.last), "best": content(folder.best), "metrics": lines}


def uninterrupted(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> dict[str, object]:
    with monkeypatch.context() as patch:
        patch.chdir(Path("..") / "b")
        assert command(["train", *SMALL, *overrides]) == 0
        return files()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("step", [1, 3, 4, 5, 17])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "nadam"])
def test_a_run_goes_on_where_it_stopped(step: int, optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = (f"optimizer={optimizer}", "trainer.epochs=6", "trainer.early_stopping.patience=5")
    interrupted(step, *chosen)
    assert command(["resume"]) == 0
    assert files() == uninterrupted(monkeypatch, *chosen)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("engine", ["stacked", "autograd"])
@pytest.mark.parametrize("dataset", ["digits", "moons", "line"])
def test_a_full_batch_that_was_not_scored_yet(
    dataset: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs lie in memory as they did, so that their losses are added up in the same order."""
    settings = (f"dataset={dataset}", "model.hidden=[16]", "trainer.batch_size=full", "optimizer.lr=0.01")
    monkeypatch.setattr(f"{__name__}.SMALL", (*settings, *SMALL[-4:]))
    chosen = ("trainer.epochs=5", f"trainer.engine={engine}")
    interrupted(3, *chosen)
    progress = checkpoint.load(MINE.last).state.progress
    assert (progress.epoch, progress.batch, progress.step) == (2, 1, 3)
    assert command(["resume"]) == 0
    assert files() == uninterrupted(monkeypatch, *chosen)


def test_seconds_of_training_go_on_where_nothing_is_logged() -> None:
    interrupted(10, "trainer.epochs=4", "trainer.log_every=1000000")
    stored = checkpoint.load(MINE.last, checkpoint.KINDS)
    assert 0 < stored.state.progress.seconds < 100
    stored.state.progress.seconds = 1000.0  # as if it had taken that long
    checkpoint.save(MINE.last, stored)
    assert command(["resume"]) == 0
    summary = json.loads(MINE.summary.read_text())
    assert 1000 < summary["train_seconds"] < 1100
    assert summary["samples_per_second"] == pytest.approx(4 * 60 / summary["train_seconds"])
    assert checkpoint.load(MINE.last).state.progress.seconds == summary["train_seconds"]
    assert json.loads(MINE.metrics.read_text().splitlines()[-1])["seconds"] > 1000


def test_more_epochs_equal_the_longer_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run's last words, an epoch between two lines and the test scores, are taken back."""
    chosen = ("trainer.log_every=3", "scheduler=step", "scheduler.step_size=2")
    assert command(["train", *SMALL, *chosen, "trainer.epochs=5"]) == 0
    assert command(["resume", "outputs/mine", "trainer.epochs=9"]) == 0
    assert files() == uninterrupted(monkeypatch, *chosen, "trainer.epochs=9")
    config = RunFolder(Path("outputs/mine")).config.read_text()
    assert "epochs: 9" in config


def test_a_finished_run_has_nothing_left_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["train", *SMALL, "trainer.epochs=3"]) == 0
    before = files()
    assert command(["resume", "outputs/mine"]) == 0
    assert capsys.readouterr().out == (
        "outputs/mine: done after 3 epochs; trainer.epochs=N trains for more\n"
    )
    assert files() == before


def test_a_run_that_goes_on_has_no_summary_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/faults/test_kill.py kills it meanwhile."""
    seen = list[str]()
    assert command(["train", *SMALL, "trainer.epochs=3"]) == 0
    monkeypatch.setattr(StopRequest, "check", lambda self: seen.append(read_result(MINE.path).status))
    assert command(["resume", "outputs/mine", "trainer.epochs=5"]) == 0
    assert seen[: 2 * 4] == ["unfinished"] * 2 * 4  # steps
    assert read_result(MINE.path).status == "done"


def test_a_run_that_stopped_early_has_no_more_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    stopping = ("trainer.early_stopping.patience=2", "trainer.early_stopping.min_delta=9")
    assert command(["train", *SMALL, *stopping, "trainer.epochs=50"]) == 0
    before = files()
    capsys.readouterr()
    ended = "stopped early after 3 epochs (trainer.early_stopping.patience=2)"
    assert command(["resume", "outputs/mine"]) == 0
    assert capsys.readouterr().out == f"outputs/mine: {ended}; nothing is left to do\n"
    assert command(["resume", "outputs/mine", "trainer.epochs=60"]) == 2
    assert capsys.readouterr().err == (
        f"mlpkit: trainer.epochs=60: the run {ended}; train anew with a larger patience\n"
    )
    assert files() == before


def test_a_longer_time_limit_takes_a_run_further(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["train", *SMALL, "trainer.time_limit=1e-6", "trainer.epochs=3"]) == 0
    assert "stopped early (trainer.time_limit=1e-06): 1 epoch, " in MINE.log.read_text()
    assert command(["resume", "outputs/mine"]) == 0
    assert capsys.readouterr().out == (
        "outputs/mine: stopped early after 1 epoch (trainer.time_limit=1e-06); a larger trainer.time_limit "
        "trains for longer\n"
    )
    assert command(["resume", "outputs/mine", "trainer.time_limit=null"]) == 0
    summary = json.loads(MINE.summary.read_text())
    assert (summary["status"], summary["epochs"]) == ("done", 3)


def test_what_was_lost_after_the_last_step_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command(["train", *SMALL, "trainer.epochs=3"]) == 0
    before, summary = files(), json.loads(MINE.summary.read_text())
    MINE.summary.unlink()
    MINE.metrics.write_bytes(MINE.metrics.read_bytes()[:-20])
    assert command(["resume", "outputs/mine"]) == 0
    assert files() == before
    assert json.loads(MINE.summary.read_text())["test"] == summary["test"]


def test_a_run_without_a_checkpoint_begins_anew(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["train", *SMALL, "trainer.epochs=3"]) == 0
    before = files()
    for path in MINE.last.parent.iterdir():
        path.unlink()
    capsys.readouterr()
    assert command(["resume", "outputs/mine"]) == 65
    assert capsys.readouterr().err == (
        "mlpkit: outputs/mine: a finished run without a checkpoint to go on from; train it anew with "
        "mlpkit train --config outputs/mine/config.yaml run.dir=null\n"
    )
    MINE.summary.unlink()  # as where it was killed before its first checkpoint
    assert command(["resume", "outputs/mine"]) == 0
    assert files() == before
    assert "no checkpoint yet: beginning anew\n" in MINE.log.read_text()


def test_auto_starts_goes_on_and_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ("trainer.epochs=4", "run.resume=auto")
    interrupted(6, *chosen)
    capsys.readouterr()
    assert command(["train", *SMALL, *chosen]) == 0
    assert "resumed from last.safetensors: epoch 1, step 6\n" in MINE.log.read_text()
    assert files() == uninterrupted(monkeypatch, *chosen)
    assert command(["train", *SMALL, *chosen]) == 0
    assert "done after 4 epochs" in capsys.readouterr().out
    assert len(MINE.command.read_text().splitlines()) == 2


def test_an_older_checkpoint_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ("trainer.epochs=4", "trainer.checkpoint_every=1", "trainer.keep_last=3")
    assert command(["train", *SMALL, *chosen]) == 0
    before = files()
    assert [path.name for path in MINE.older()] == [
        "step-000000012.safetensors",
        "step-000000008.safetensors",
    ]
    assert command(["resume", str(MINE.at_step(8))]) == 0
    assert files() == before
    assert [path.name for path in MINE.older()] == [
        "step-000000012.safetensors",
        "step-000000008.safetensors",
    ]


def test_an_older_checkpoint_becomes_the_newest_at_once() -> None:
    """Were the run killed before its next save, records and checkpoint would still agree."""
    chosen = ("trainer.epochs=4", "trainer.checkpoint_every=1", "trainer.keep_last=3")
    assert command(["train", *SMALL, *chosen]) == 0
    before, step = MINE.at_step(8).read_bytes(), MINE.at_step(8)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(1, patch)
        patch.setattr("mlpkit.training.trainer.Trainer._interrupt", lambda self, error: None)
        assert command(["resume", str(step), "trainer.checkpoint_every=1000"]) == 143
    assert MINE.last.read_bytes() == before
    assert MINE.older() == [MINE.at_step(8)]


@pytest.mark.parametrize("step", [4, 12, 2])
def test_of_what_came_after_an_older_checkpoint_nothing_is_left(step: int) -> None:
    """Of a run whose best epoch is its last: a best epoch to come is not that of a run that goes back."""
    chosen = ("trainer.epochs=6", "trainer.checkpoint_every=2steps", "trainer.keep_last=99", "optimizer=sgd")
    assert command(["train", *SMALL, *chosen]) == 0
    path, epochs = MINE.at_step(step), -(-step // 4)
    stored = checkpoint.load(path, checkpoint.KINDS).state
    assert checkpoint.load(MINE.best).state.progress.epoch == 6
    with pytest.MonkeyPatch.context() as patch:  # killed before it has done anything
        patch.setattr("mlpkit.training.trainer.Trainer.fit", lambda self: None)
        assert command(["resume", str(path), f"trainer.epochs={epochs}"]) == 0
    assert MINE.best.exists() == (step > 2)  # which lies in the first epoch
    if MINE.best.exists():
        best = checkpoint.load(MINE.best).state
        assert (best.progress.step, best.scores) == (stored.progress.best_step, stored.progress.best_scores)
    assert command(["resume", "outputs/mine", f"trainer.epochs={epochs}"]) == 0  # of step 4 and 12: nothing
    summary = json.loads(MINE.summary.read_text())
    best = checkpoint.load(MINE.best).state
    assert (summary["epochs"], summary["steps"]) == (epochs, 4 * epochs)
    assert (best.progress.epoch, best.progress.step) == (summary["best"]["epoch"], summary["best"]["step"])
    assert best.progress.epoch <= epochs
    assert best.scores["val"] == pytest.approx(summary["best"]["val"])
    assert checkpoint.load(MINE.last).state.progress.step == 4 * epochs
    assert [path for path in MINE.older() if path.name > MINE.at_step(4 * epochs).name] == []
    assert files()["metrics"][-1]["epoch"] == epochs


def test_the_best_checkpoint_alone_is_no_place_to_go_on_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["train", *SMALL, "trainer.epochs=3", "optimizer=sgd"]) == 0
    before = {path: path.read_bytes() for path in MINE.path.rglob("*") if path.is_file()}
    assert command(["resume", str(MINE.best), "trainer.epochs=5"]) == 65
    assert before == {path: path.read_bytes() for path in MINE.path.rglob("*") if path.is_file()}
    assert capsys.readouterr().err == (
        "mlpkit: outputs/mine/checkpoints/best.safetensors: it holds only the best weights, and no training "
        "state; resume from another checkpoint\n"
    )


def test_lines_survive_another_distance_between_them() -> None:
    interrupted(10, "trainer.epochs=9")
    for epochs in (5, 7):
        assert command(["resume", "outputs/mine", "trainer.log_every=3", f"trainer.epochs={epochs}"]) == 0
    lines = [json.loads(line) for line in MINE.metrics.read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["split"] == "train"] == [1, 2, 3, 6, 7]


@pytest.mark.parametrize(
    ("keep", "every", "kept"),
    [(1, "1", []), (2, "1", [16]), (3, "7steps", [14, 7]), (9, "7steps", [14, 7]), (4, "2", [16, 8])],
)
def test_checkpoints_that_are_kept(keep: int, every: str, kept: list[int]) -> None:
    chosen = ("trainer.epochs=5", f"trainer.checkpoint_every={every}", f"trainer.keep_last={keep}")
    assert command(["train", *SMALL, *chosen]) == 0
    assert MINE.older() == [MINE.at_step(step) for step in kept]
    for step in kept:
        assert checkpoint.load(MINE.at_step(step)).state.progress.step == step
    assert checkpoint.load(MINE.last).state.progress.step == 20


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ("trainer.epochs=5", "trainer.checkpoint_every=1")
    interrupted(18, *chosen)
    damaged = bytearray(MINE.last.read_bytes())
    damaged[-1] ^= 1
    MINE.last.write_bytes(damaged)
    capsys.readouterr()
    assert command(["resume", "outputs/mine"]) == 0
    assert capsys.readouterr().err == (
        "warning: outputs/mine/checkpoints/last.safetensors: damaged (its SHA-256 does not match); using "
        "step-000000016.safetensors (epoch 4) instead\n"
    )
    assert files() == uninterrupted(monkeypatch, *chosen)
    MINE.best.write_bytes(damaged)
    assert command(["predict", "outputs/mine", "--values", "0,1"]) == 0
    assert capsys.readouterr().err.startswith("warning: outputs/mine/checkpoints/best.safetensors: damaged (")


RULE = (
    "a run goes on as it began; only device, trainer.epochs, trainer.threads, "
    "trainer.processes, trainer.engine, trainer.matmul, trainer.compile, trainer.time_limit, "
    "trainer.checkpoint_every, trainer.keep_last, trainer.log_every, "
    "run.loggers, run.metrics, run.histograms, run.plots, run.film, run.progress may change"
)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("overrides", "code", "line"),
    [
        (("optimizer.lr=0.5",), 2, f"optimizer.lr=0.5: {RULE}"),
        (("optimizer=sgd",), 2, f"optimizer=sgd: {RULE}"),
        (("seed=1",), 2, f"seed=1: {RULE}"),
        (("run.dir=outputs/other",), 2, f"run.dir=outputs/other: {RULE}"),
        (("~model",), 2, f"~model: {RULE}"),
        (("trainer.epochs=2",), 2, "trainer.epochs=2: the run is in epoch 3; choose 3 or more"),
        (
            ("trainer.epochs=-1",),
            2,
            "trainer.epochs=-1: must be an integer ≥ 0 and ≤ 1000000000 (passes over the training data; "
            "0: the untrained network; default 1000)",
        ),
        (("device=cuda",), 2, "device=cuda: this machine has no CUDA device; set device=cpu or device=auto"),
    ],
)
def test_what_may_not_change(
    overrides: tuple[str, ...], code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if overrides == ("device=cuda",) and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    interrupted(10, "trainer.epochs=4")  # in each epoch four steps ask
    before = files()
    capsys.readouterr()
    assert command(["resume", "outputs/mine", *overrides]) == code
    assert capsys.readouterr().err == f"mlpkit: {line}\n"
    assert files() == before
    assert sorted(path.name for path in MINE.path.iterdir()) == [
        "checkpoints", "command.txt", "config.yaml", "environment.json", "metrics.jsonl", "overrides.yaml",
        "summary.json", "train.log",
    ]  # fmt: skip


def test_overrides_are_kept() -> None:
    interrupted(1, "trainer.epochs=4")
    assert command(["resume", "outputs/mine"]) == 0
    assert yaml.safe_load(MINE.overrides.read_text()) == [*SMALL, "trainer.epochs=4"]
    assert command(["resume", "outputs/mine", "trainer.epochs=5"]) == 0
    assert yaml.safe_load(MINE.overrides.read_text()) == [*SMALL, "trainer.epochs=4", "trainer.epochs=5"]
    MINE.overrides.write_text("a: [")
    assert command(["resume", "outputs/mine", "trainer.epochs=6"]) == 0
    assert yaml.safe_load(MINE.overrides.read_text()) == ["trainer.epochs=6"]


def test_a_config_that_was_edited(capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(10, "trainer.epochs=4")
    capsys.readouterr()
    text = MINE.config.read_text().replace("lr: 0.001", "lr: 0.01").replace("epochs: 4", "epochs: 5")
    MINE.config.write_text(text.replace("seed: 0", "seed: 3"))
    assert command(["resume", "outputs/mine"]) == 2
    rest = "and goes on as it began; only epochs, device, engine, logging and checkpoint settings may change"
    assert capsys.readouterr().err == (
        f"mlpkit: seed=3: the run has 0, {rest}\n"
        f"mlpkit: dataset.seed=3: the run has 0, {rest}\n"
        f"mlpkit: optimizer.lr=0.01: the run has 0.001, {rest}\n"
    )


def test_auto_refuses_another_config(capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(10, "run.resume=auto")
    capsys.readouterr()
    assert command(["train", *SMALL, "run.resume=auto", "model.bias=false"]) == 2
    assert capsys.readouterr().err.startswith("mlpkit: model.bias=false: the run has true, and goes on as")


def test_data_that_has_changed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(10, "trainer.epochs=4")
    capsys.readouterr()
    stored = checkpoint.load(MINE.last, checkpoint.KINDS)
    changed = checkpoint.Checkpoint(stored.config, stored.input_schema, stored.state, "0" * 32)
    checkpoint.save(MINE.last, changed)
    assert command(["resume", "outputs/mine"]) == 65
    assert capsys.readouterr().err == (
        "mlpkit: dataset=moons: its data is not what the run was trained on (fingerprint "
        f"{stored.fingerprint[:12]}, was 000000000000); bring the old data back, or start a new run\n"
    )


def test_the_fingerprint_sees_one_number() -> None:
    from dataclasses import replace

    from running import config

    from mlpkit.data.dataset import Split
    from mlpkit.data.load import load_dataset

    first, again = (load_dataset(config("dataset=moons").dataset) for _ in range(2))
    assert first.fingerprint == again.fingerprint
    inputs = first.splits["val"].inputs.clone()
    inputs[3, 1] += 1e-7
    changed = {**first.splits, "val": Split(inputs, first.splits["val"].targets)}
    assert not torch.equal(inputs, first.splits["val"].inputs)
    assert replace(first, splits=changed).fingerprint != first.fingerprint


def test_another_machine(capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(10, "trainer.epochs=4")
    environment = json.loads(MINE.environment.read_text())
    environment["versions"]["torch"], environment["threads"] = "2.0", 7
    MINE.environment.write_text(json.dumps(environment))
    capsys.readouterr()
    assert command(["resume", "outputs/mine", "--strict"]) == 2
    found = f"threads 1 (was 7), torch '{version('torch')}' (was '2.0')"
    rest = "the numbers may differ from those of an uninterrupted run"
    assert capsys.readouterr().err == (
        f"mlpkit: --strict: {found}: {rest}; go on without it, or where the run began\n"
    )
    assert command(["resume", "outputs/mine"]) == 0
    assert capsys.readouterr().err == f"warning: {found}: {rest}\n"


def test_what_a_checkpoint_came_from_is_told_until_there_is_another(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process that goes on with another engine, and ends before it saves, did not make the checkpoint."""
    interrupted(10, "trainer.epochs=4")
    before = MINE.environment.read_bytes()

    save = checkpoint.save

    def full(path: Path, stored: checkpoint.Checkpoint) -> None:
        if path == MINE.last:
            raise WriteError("no space left")
        save(path, stored)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        assert command(["resume", "outputs/mine", "trainer.engine=autograd"]) == 74
    assert MINE.environment.read_bytes() == before
    capsys.readouterr()
    assert command(["resume", "outputs/mine", "--strict"]) == 2
    assert "--strict: engine 'autograd' (was 'stacked')" in capsys.readouterr().err
    assert command(["resume", "outputs/mine"]) == 0
    assert json.loads(MINE.environment.read_text())["engine"] == "autograd"


def test_a_schedule_over_the_whole_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["train", *SMALL, "trainer.epochs=3", "scheduler=cosine"]) == 0
    capsys.readouterr()
    assert command(["resume", "outputs/mine", "trainer.epochs=4"]) == 0
    assert capsys.readouterr().err == (
        "warning: scheduler=cosine spans the whole run: from here on its learning rates are those of "
        "trainer.epochs=4\n"
    )


def test_weights_that_are_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(10, "trainer.epochs=4")
    stored = checkpoint.load(MINE.last, checkpoint.KINDS)
    stored.state.model["layers.0.weight"][0, 0] = float("nan")
    checkpoint.save(MINE.last, stored)
    capsys.readouterr()
    assert command(["resume", "outputs/mine"]) == 65
    assert capsys.readouterr().err == (
        "mlpkit: outputs/mine/checkpoints/last.safetensors: model/layers.0.weight holds values that are not "
        "finite; resume from an older checkpoint\n"
    )


@pytest.mark.long
def test_one_writer(capsys: pytest.CaptureFixture[str]) -> None:
    """The lock of a run is held by a process that trains, named, and free as soon as that is killed."""
    long = [sys.executable, "-m", "mlpkit", "train", *SMALL[:-1], "trainer.epochs=1000000"]
    process = subprocess.Popen(long, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    for arguments in (["resume", "outputs/mine"], ["plot", "outputs/mine"]):
        assert command(arguments) in (75, 65 if arguments[0] == "plot" else 75)
    process.kill()
    process.wait()
    process.stdout.close()
    problem = capsys.readouterr().err.splitlines()[0]
    assert problem.startswith(f"mlpkit: outputs/mine: in use by process {process.pid} on ")
    assert problem.endswith("; wait until it has ended, or stop it")
    assert (MINE.path / ".lock").exists()
    assert command(["resume", "outputs/mine", "trainer.epochs=1"]) == 0
    assert not (MINE.path / ".lock").exists()
