"""Streams that are closed, full or small: a command does what it is for, and says what can be said."""

import io
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cases import rest_long
from rich.console import Console
from running import mlpkit, train

from mlpkit.cli.main import run as command
from mlpkit.folders.run_folder import RunFolder
from mlpkit.sweeps.display import SweepDisplay
from mlpkit.system.startup import _ProtectedFile
from mlpkit.training.display import TrainingDisplay

T = (
    "dataset=moons", "model=mlp", "trainer.epochs=2", "run.plots=false", "run.tensorboard=false",
    "run.dir=outputs/mine",
)  # fmt: skip


def in_shell(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line in which $M is mlpkit."""
    return subprocess.run(
        line, shell=True, executable="/bin/bash", cwd=cwd, capture_output=True, text=True, errors="replace",
        env={**os.environ, "M": f"{sys.executable} -m mlpkit", **environment},
    )  # fmt: skip


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("$M list 2>&-", 0),
        pytest.param("$M config >&-", 0, marks=pytest.mark.long),
        ("$M inspect nope 2>&-", 65),
        ("$M train optimizer.lr=-1 >&- 2>&- <&-", 2),
        ("$M list >/dev/full", 0),
        pytest.param("$M inspect nope 2>/dev/full", 65, marks=pytest.mark.long),
    ],
)
def test_a_stream_that_takes_nothing_changes_no_exit_code(line: str, code: int, tmp_path: Path) -> None:
    done = in_shell(line, tmp_path)
    assert done.returncode == code
    assert "Error" not in done.stdout + done.stderr


@pytest.mark.long
def test_a_run_without_streams_keeps_its_files_clean(tmp_path: Path) -> None:
    assert in_shell(f"$M train {' '.join(T)} <&- >&- 2>&-", tmp_path).returncode == 0
    run = RunFolder(tmp_path / "outputs" / "mine")
    assert [json.loads(line)["epoch"] for line in run.metrics.read_text().splitlines()] == [1, 1, 2, 2, 2]
    assert run.log.read_text().startswith("moons: binary")
    assert run.log.read_text().count("moons: binary") == 1


@pytest.mark.long
def test_an_answer_that_does_not_fit_is_an_error(trained: dict[str, Path], tmp_path: Path) -> None:
    line = f"$M predict {trained['moons']} --values 0.3,0.5"
    said = "mlpkit: stdout: cannot be written (No space left on device); free some space\n"
    for answer in (line, "$M config dataset=moons model=mlp", "$M completion bash"):  # what files are made of
        done = in_shell(f"{answer} >/dev/full", tmp_path)
        assert (done.returncode, done.stderr) == (74, said)
    done = in_shell(f"{line} | true; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.long
@pytest.mark.parametrize(
    "encoding", rest_long(["ascii", "latin-1", "cp1252", "utf-8"], lambda name: name in ("ascii", "utf-8"))
)
def test_what_an_encoding_does_not_have_is_spelled(
    encoding: str, trained: dict[str, Path], tmp_path: Path
) -> None:
    done = mlpkit("inspect", str(trained["moons"]), cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert f"x1, x2 {'→' if encoding == 'utf-8' else '->'} moon" in done.stdout


def test_a_pipe_that_does_not_wait_gets_everything() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    content, found = bytes(range(256)) * 4096, []

    def read() -> None:
        with os.fdopen(reading, "rb") as stream:
            found.append(stream.read())

    reader = threading.Thread(target=read)
    stream = io.BufferedWriter(_ProtectedFile(writing, "w"))  # type: ignore[type-var]
    reader.start()
    stream.write(content)
    stream.close()
    reader.join()
    assert found == [content]


@pytest.mark.parametrize("style", ["auto", "bar"])
def test_a_dumb_terminal_gets_lines(style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    said = io.StringIO()
    console = Console(file=said, force_terminal=True, width=200)
    assert console.is_terminal
    monkeypatch.setattr("running.make_console", lambda: console)
    monkeypatch.setattr("running.QUIET", ())
    train(tmp_path, *T[:-1], f"run.progress={style}")
    assert "epoch 1/2  train loss" in said.getvalue()
    assert TrainingDisplay(console, style, 1, "val", "accuracy")._progress is None


def test_an_interrupted_sweep_keeps_its_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    display = SweepDisplay(Console(file=Terminal(), force_terminal=True, width=80), 4, 0)
    display.begin([])
    display._shown = 0.0
    halfway = SimpleNamespace(epoch=50, batch=0)
    group = SimpleNamespace(progress=halfway, recorders=range(4), steps_per_epoch=1, epochs=100)
    display.on_step(cast(Any, group))
    display.stop()
    assert display._progress is not None
    assert display._progress.tasks[0].completed == 2


def test_a_description_after_a_mark_of_unicode_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "configs" / "optimizer" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("# My own\nname: sgd\nlr: 0.3\n", encoding="utf-8-sig")
    assert command(["list", "optimizer"]) == 0
    assert re.search(r"^  mine +My own \(configs/optimizer/mine.yaml\)$", capsys.readouterr().out, re.M)
    assert command(["config", "optimizer=mine"]) == 0
    assert "lr: 0.3\n" in capsys.readouterr().out


def test_too_little_memory_is_one_line(trained: dict[str, Path], tmp_path: Path) -> None:
    line = "mlpkit: memory: a limit of 400000 kB (ulimit -v) is too low for torch; raise it\n"
    for arguments in (f"train {' '.join(T)}", f"predict {trained['moons']} --values 0.3,0.5"):
        done = in_shell(f"ulimit -v 400000; $M {arguments}", tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", line)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_data_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    arguments = "train dataset=sum model=linear dataset.n=10000000 dataset.terms=50"
    done = in_shell(f"ulimit -v 4200000; $M {arguments}", tmp_path)
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert said.startswith("mlpkit: memory: there is not enough of it (")
    assert said.endswith("train on fewer rows, choose a smaller model or batch, or raise a limit (ulimit -v)")
