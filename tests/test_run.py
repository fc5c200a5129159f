"""A run writes the files that the design names, and nothing else; they say the same thing."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from cases import rest_long
from running import config, mlpkit, train

from mlpkit.analysis.predict import load_predictor
from mlpkit.cli.main import run as command
from mlpkit.config.config import parse
from mlpkit.data.load import load_dataset
from mlpkit.errors import NonFiniteError, RunInterruptedError
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system import device

FAST = ("trainer.epochs=4", "run.plots=false")
FILES = {
    "config.yaml",
    "command.txt",
    "overrides.yaml",
    "environment.json",
    "metrics.jsonl",
    "summary.json",
    "train.log",
    "checkpoints/last.safetensors",
    "checkpoints/best.safetensors",
    "tensorboard/events",
}
PICTURES = {
    "line": {"curves", "fit", "predicted", "residuals"},
    "sum": {"curves", "predicted", "residuals"},
    "moons": {"curves", "boundary", "confusion", "probabilities"},
    "digits": {"curves", "confusion", "calibration", "samples"},
}


def files_of(folder: RunFolder) -> set[str]:
    found = {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}
    return {name if "tfevents" not in name else "tensorboard/events" for name in found}


@pytest.mark.long
@pytest.mark.parametrize("dataset", rest_long(PICTURES, lambda name: name in ("moons", "line")))
def test_exact_files(dataset: str, tmp_path: Path) -> None:
    folder = train(tmp_path, f"dataset={dataset}", "trainer.epochs=2")
    assert folder.path.parent == tmp_path / f"{dataset}-mlp"
    assert files_of(folder) == FILES | {f"plots/{name}.png" for name in PICTURES[dataset]}


def test_without_tensorboard_and_plots(tmp_path: Path) -> None:
    folder = train(tmp_path, *FAST, "run.tensorboard=false")
    assert files_of(folder) == FILES - {"tensorboard/events"}


def test_metrics_have_a_line_for_each_epoch_and_split(tmp_path: Path) -> None:
    folder = train(tmp_path, *FAST)
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [(line["epoch"], line["step"], line["split"]) for line in lines] == [
        *((epoch, epoch, split) for epoch in (1, 2, 3, 4) for split in ("train", "val")),
        (4, 4, "test"),
    ]
    assert list(lines[0]) == ["epoch", "step", "split", "loss", "accuracy", "lr", "grad_norm", "seconds"]
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)


def test_log_every_thins_the_lines_and_keeps_the_last_epoch(tmp_path: Path) -> None:
    folder = train(tmp_path, "trainer.epochs=7", "run.plots=false", "trainer.log_every=3")
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["split"] == "train"] == [3, 6, 7]


def test_summary_agrees_with_the_checkpoints(tmp_path: Path) -> None:
    chosen = ("dataset=moons", "trainer.epochs=60", "run.plots=false", "optimizer.lr=0.05")
    folder = train(tmp_path, *chosen)
    summary = json.loads(folder.summary.read_text())
    assert summary["status"] == "done"
    assert (summary["epochs"], summary["steps"], summary["parameters"]) == (60, 60, 4417)
    assert summary["monitored"] == "accuracy on val"
    dataset = load_dataset(config(*chosen).dataset)
    for path, scores in ((folder.last, summary), (folder.best, summary["best"])):
        predictor, _ = load_predictor(path)
        for name, split in dataset.splits.items():
            labels = predictor.predict(split.inputs).values
            accuracy = (labels == split.targets).double().mean().item()
            assert scores[name]["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    assert summary["best"]["value"] == summary["best"]["val"]["accuracy"]


def test_summary_says_that_test_was_monitored(tmp_path: Path) -> None:
    folder = train(tmp_path, *FAST, "dataset.val_fraction=0")
    summary = json.loads(folder.summary.read_text())
    assert summary["monitored"] == "accuracy on test"
    assert "no validation rows: test was monitored" in folder.log.read_text()
    assert "val" not in summary


def test_best_is_kept_when_later_epochs_are_worse(tmp_path: Path) -> None:
    """With a rate that rises until the model breaks, the best weights are from before that."""
    folder = train(
        tmp_path, "dataset=line", "model=linear", "optimizer=sgd", "optimizer.lr=0.001", "trainer.epochs=40",
        "scheduler=exponential", "scheduler.gamma=1.12", "run.plots=false",
    )  # fmt: skip
    summary = json.loads(folder.summary.read_text())
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["split"] == "val"]
    assert summary["best"]["epoch"] == int(np.argmin(losses)) + 1 < 40
    assert checkpoint.load(folder.best).state.progress.epoch == summary["best"]["epoch"]
    assert checkpoint.load(folder.last).state.progress.epoch == 40


def test_early_stopping(tmp_path: Path) -> None:
    folder = train(
        tmp_path, "dataset=moons", "trainer.epochs=500", "trainer.early_stopping.patience=7",
        "optimizer.lr=0.05", "run.plots=false",
    )  # fmt: skip
    summary = json.loads(folder.summary.read_text())
    assert summary["status"] == "stopped early"
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    accuracies = [line["accuracy"] for line in lines if line["split"] == "val"]
    assert summary["epochs"] == summary["best"]["epoch"] + 7 < 500
    assert summary["best"]["value"] == max(accuracies)


def test_diverging_run_stops_and_keeps_no_nan(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError) as caught:
        train(
            tmp_path, "dataset=line", "model=linear", "optimizer=sgd", "optimizer.lr=1000",
            "trainer.checkpoint_every=1", "run.plots=false",
        )  # fmt: skip
    (folder,) = (tmp_path / "line-linear").iterdir()
    assert str(caught.value).endswith(
        "training diverged; try a lower optimizer.lr or set trainer.clip_norm=1; "
        f"the run so far is in {folder}"
    )
    summary = json.loads((folder / "summary.json").read_text())
    assert summary == {"status": "failed", "error": str(caught.value)}
    stored = checkpoint.load(RunFolder(folder).last)
    assert all(bool(tensor.isfinite().all()) for tensor in stored.state.model.values())


def test_the_same_command_gives_the_same_bits(tmp_path: Path) -> None:
    options = (
        "dataset=digits", "model.dropout=0.2", "trainer.epochs=2", "dataset.augment.rotation=10",
        "scheduler=cosine", "run.plots=false",
    )  # fmt: skip
    first, second = (checkpoint.load(train(tmp_path / name, *options).last) for name in "ab")
    assert all(torch.equal(first.state.model[name], second.state.model[name]) for name in first.state.model)
    other = checkpoint.load(train(tmp_path / "c", *options, "seed=1").last)
    assert not all(
        torch.equal(first.state.model[name], other.state.model[name]) for name in first.state.model
    )


def test_config_file_repeats_the_run(tmp_path: Path) -> None:
    folder = train(tmp_path, "dataset=moons", *FAST, "seed=3")
    again = tmp_path / "again"
    arguments = ["train", "--config", str(folder.config), f"run.root={again}"]
    assert command(arguments) == 0
    (repeated,) = (again / "moons-mlp").iterdir()
    first, second = checkpoint.load(folder.last), checkpoint.load(RunFolder(repeated).last)
    assert all(torch.equal(first.state.model[name], second.state.model[name]) for name in first.state.model)


def test_environment_and_command(tmp_path: Path) -> None:
    mlpkit("train", *FAST, "run.root=out", "run.name=a b".replace(" ", "-"), cwd=tmp_path)
    (folder,) = (tmp_path / "out" / "a-b").iterdir()
    assert (folder / "command.txt").read_text() == (
        "mlpkit train trainer.epochs=4 run.plots=false run.root=out run.name=a-b\n"
    )
    assert (folder / "overrides.yaml").read_text() == (
        "- trainer.epochs=4\n- run.plots=false\n- run.root=out\n- run.name=a-b\n"
    )
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert environment["device"] == "cpu"
    parse(yaml.safe_load((folder / "config.yaml").read_text()))


@pytest.mark.long
def test_predict_in_a_fresh_process_is_equal_to_the_last_bit(tmp_path: Path) -> None:
    chosen = ("dataset=sum", "dataset.standardize=true", "trainer.epochs=30", "run.plots=false")
    folder = train(tmp_path, *chosen)
    elsewhere = tmp_path / "elsewhere" / "model.safetensors"
    elsewhere.parent.mkdir()
    shutil.copy(folder.best, elsewhere)
    shutil.rmtree(folder.path)
    inputs = load_dataset(config(*chosen).dataset).splits["test"].inputs
    np.save(tmp_path / "inputs.npy", inputs.numpy())
    done = mlpkit(
        "predict", str(elsewhere), "--input", "inputs.npy", "--output", "out.npz",
        cwd=tmp_path, OMP_NUM_THREADS=str(torch.get_num_threads()),
    )  # fmt: skip
    assert done.stdout == "200 predictions: out.npz\n"
    expected = load_predictor(elsewhere)[0].predict(inputs).values[:, 0].numpy()
    assert np.array_equal(np.load(tmp_path / "out.npz")["y"], expected)
    csv = mlpkit("predict", str(elsewhere), "--input", "inputs.npy", cwd=tmp_path,
                 OMP_NUM_THREADS=str(torch.get_num_threads())).stdout.split()  # fmt: skip
    assert np.array_equal(np.array(csv[1:], dtype=np.float32), expected)


def test_twenty_runs_of_one_second_have_twenty_folders(tmp_path: Path) -> None:
    from mlpkit.folders.new_run import create
    from mlpkit.folders.trust import Trust

    chosen = config(f"run.root={tmp_path}")
    with ExitStack() as locks:
        assert len({create(chosen, Trust.OWN, locks).path for _ in range(20)}) == 20


@pytest.mark.long
def test_a_full_disk_leaves_no_half_written_file(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk; the process gets ENOSPC's neighbour, EFBIG."""
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000));"
        "from mlpkit.cli.main import run;"
        "sys.exit(run(['train', 'dataset=moons', 'trainer.epochs=2', 'run.plots=false', 'run.root=out']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 74
    (line,) = done.stderr.splitlines()
    assert line.startswith("mlpkit: out/moons-mlp/") and "checkpoints/last.safetensors: cannot write" in line
    (folder,) = (tmp_path / "out" / "moons-mlp").iterdir()
    assert [file.name for file in (folder / "checkpoints").iterdir()] == ["best.safetensors"]


def test_an_interrupt_while_drawing_leaves_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlpkit.training.run_pictures

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mlpkit.training.run_pictures, "draw_pictures", interrupt)
    with pytest.raises(RunInterruptedError) as caught:
        train(tmp_path, "dataset=moons", "trainer.epochs=2")
    (folder,) = (tmp_path / "moons-mlp").iterdir()
    assert str(caught.value) == f"interrupted; saved; to go on: mlpkit resume {folder}"
    assert json.loads((folder / "summary.json").read_text())["status"] == "done"
    assert (folder / "train.log").read_text().endswith(f"interrupted: {caught.value}\n")


@pytest.mark.long
def test_a_run_in_a_named_folder_is_the_newest(tmp_path: Path) -> None:
    mlpkit("train", *FAST, "run.root=outputs", cwd=tmp_path)
    mlpkit("train", *FAST, "run.dir=outputs/mine", "seed=1", cwd=tmp_path)
    assert mlpkit("inspect", cwd=tmp_path).stderr == "newest run: outputs/mine (best checkpoint, epoch 4)\n"


def test_only_training_rows(tmp_path: Path) -> None:
    """Without val and test, the scores of train are those after each epoch."""
    folder = train(tmp_path, *FAST, "dataset.val_fraction=0", "dataset.test_fraction=0")
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [(line["epoch"], line["split"]) for line in lines] == [(n, "train") for n in (1, 2, 3, 4)]
    summary = json.loads(folder.summary.read_text())
    assert lines[-1]["loss"] == pytest.approx(summary["train"]["loss"])
    assert summary["monitored"] == "accuracy on train"


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_with_a_checkpoint(number: int, code: int, tmp_path: Path) -> None:
    arguments = [
        "train",
        "dataset=moons",
        "trainer.epochs=1000000",
        "run.dir=outputs/mine",
        "run.plots=false",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlpkit", *arguments],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    found = re.fullmatch(
        r"mlpkit: interrupted after epoch (\d+), step (\d+); saved; to go on: "
        r"mlpkit resume outputs/mine\n",
        errors,
    )
    assert found, errors
    folder = RunFolder(tmp_path / "outputs" / "mine")
    stored = checkpoint.load(folder.last)
    assert (stored.state.progress.epoch, stored.state.progress.step) == tuple(int(n) for n in found.groups())
    assert json.loads(folder.summary.read_text())["status"] == "interrupted"
    assert checkpoint.load(folder.best).state.progress.epoch <= stored.state.progress.epoch


@pytest.mark.long
def test_a_reader_that_leaves_does_not_end_the_training(tmp_path: Path) -> None:
    command_line = f"{sys.executable} -m mlpkit train trainer.epochs=200 run.plots=false run.dir=outputs/mine"
    done = subprocess.run(
        f"{command_line} | head -n 1; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "outputs" / "mine" / "summary.json").read_text())["status"] == "done"


def test_the_same_run_writes_the_same_file(tmp_path: Path) -> None:
    first, second = train(tmp_path, *FAST), train(tmp_path, *FAST)
    assert first.best.read_bytes() == second.best.read_bytes()


def test_small_models_take_one_thread(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        train(tmp_path, *FAST)
        assert torch.get_num_threads() == 1
        train(tmp_path, *FAST, "trainer.threads=2")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_config_that_a_killed_process_left_unfinished_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".config.yaml.zczt19yc.tmp").write_text("format: 3")
    (folder / ".lock").touch()
    run = train(
        tmp_path, "dataset=line", "model=linear", "trainer.epochs=1", f"run.dir={folder}", "run.plots=false"
    )
    assert [path.name for path in run.path.rglob(".*")] == []


def test_more_threads_than_cores_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cores", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    said = device.describe_device("cpu", "cpu")
    torch.set_num_threads(before)
    assert said == "device: cpu (3 threads; they share 2 cores, fewer are faster)"
