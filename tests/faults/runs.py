"""Runs that are compared: one that nothing has stopped, and one that something has."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.testing import assert_allclose
from running import content

from faults.processes import RUN, Running, start
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder

SAVED = f"saved; to go on: mlpkit resume {RUN}\n"  # the end of what an interrupted process says


@dataclass(frozen=True)
class Uninterrupted:
    """A run that nothing has stopped.

    Attributes:
        folder: of the run.
        arguments: after `mlpkit train`.
        seconds: from the start of its process, which was a forked one, to its end.
        startup: those of them that were not training.
        steps: taken.
    """

    folder: RunFolder
    arguments: tuple[str, ...]
    seconds: float
    startup: float
    steps: int


def train_uninterrupted(
    folder: Path, arguments: tuple[str, ...], prepare: Callable[[], None] | None
) -> Uninterrupted:
    """Train in a working folder."""
    assert start(folder, "--version").wait() == 0  # whoever forks has imported everything from here on
    began = time.perf_counter()
    running = start(folder, "train", *arguments, prepare=prepare)
    code, seconds = running.wait(), time.perf_counter() - began
    assert (code, running.stderr()) == (0, "")
    run = RunFolder(folder / RUN)
    summary = json.loads(run.summary.read_text())
    return Uninterrupted(run, arguments, seconds, seconds - summary["train_seconds"], summary["steps"])


def resume_run(folder: Path, arguments: tuple[str, ...], as_train: bool, **options: Any) -> Running:
    """Go on with the run of a working folder: by the command that it was begun with, or by resume."""
    config = RunFolder(folder / RUN).config
    if as_train or not config.exists() or not config.stat().st_size:
        return start(folder, "train", *arguments, **options)
    return start(folder, "resume", RUN, **options)


def keep(folder: Path) -> Path:
    """Keep the run as it was when it was stopped: what goes wrong from here on can be repeated."""
    copy = folder / "as-it-was-stopped"
    if (folder / RUN).exists():
        shutil.copytree(folder / RUN, copy)
    return copy


def check_checkpoints(folder: Path, about: str) -> int | None:
    """Check that the newest checkpoint loads, and return its step; None where there is none."""
    run = RunFolder(folder / RUN)
    paths = [path for path in (run.last, *run.older()) if path.exists()]
    if not paths:
        return None
    stored = checkpoint.load(paths[0], checkpoint.KINDS)
    if stored.state.progress.best_epoch and not stored.state.progress.best_is_now:
        assert stored.state.best, about
    return stored.state.progress.step


def check_ended_well(running: Running, about: str) -> None:
    """Check that a command did what it was asked, without complaint."""
    code = running.wait()
    assert (code, running.stderr()) == (0, ""), about


def check_same(folder: Path, reference: Uninterrupted, about: str) -> None:
    """Check that the run of a working folder has ended as the one that nothing has stopped."""
    run, other = RunFolder(folder / RUN), reference.folder
    for path, expected in ((run.last, other.last), (run.best, other.best)):
        assert content(path) == content(expected), f"{path.name} differs: {about}"
    assert metrics(run) == metrics(other), f"metrics.jsonl differs: {about}"
    assert summary(run) == summary(other), f"summary.json differs: {about}"
    left = [path for path in run.path.rglob("*") if path.name.endswith(".tmp") or path.name == ".lock"]
    assert left == [], f"left behind: {about}"


def metrics(run: RunFolder) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl but for their times."""
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def summary(run: RunFolder) -> dict[str, Any]:
    """Return the summary but for the times."""
    times = ("train_seconds", "samples_per_second")
    return {name: v for name, v in json.loads(run.summary.read_text()).items() if name not in times}


def check_close(run: RunFolder, other: RunFolder, bound: float = 1e-4) -> None:
    """Check that weights and scores of two runs differ by rounding at most."""
    one, two = checkpoint.load(run.last, checkpoint.KINDS), checkpoint.load(other.last, checkpoint.KINDS)
    assert one.state.progress.step == two.state.progress.step
    for name, tensor in two.state.model.items():
        assert_allclose(one.state.model[name], tensor, rtol=bound, atol=bound)
    for now, then in zip(metrics(run), metrics(other), strict=True):
        assert (now["epoch"], now["split"]) == (then["epoch"], then["split"])
        assert_allclose(now["loss"], then["loss"], rtol=bound)
