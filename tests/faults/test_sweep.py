"""Sweeps that are killed, interrupted, begun twice, or fail in part: what is done stays, all else goes on."""

import json
import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import torch
from running import content

from faults.counts import count
from faults.prepare import die_at, die_in, meet, signal_at
from faults.processes import LIMIT, Running, forks, start
from faults.runs import metrics, summary
from faults.test_signals import PATIENCE, end, wait_for
from faults.test_together import IN_USE, in_order_of_ending
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.sweep_folder import SweepFolder
from mlpkit.sweeps.ledger import DONE, Ledger

SWEEP = "outputs/sweep"
COMMON = (
    f"run.dir={SWEEP}", "run.progress=none", "dataset=moons", "dataset.n=60",
)  # fmt: skip
ARGUMENTS = (
    *COMMON, "model.hidden=[4],[3,3]", "optimizer.lr=0.01,0.05", "seed=range(3)",
    "trainer.epochs=200", "trainer.checkpoint_every=40",
)  # fmt: skip
JOBS = 12
WEIGHTS = 1e-5  # how far weights may be from those of an uninterrupted sweep: a run alone rounds otherwise
WAY_ON = f"mlpkit resume {SWEEP}"

# Instants that chance seldom hits: what the process was about to do.
MOMENTS = {
    "take the lock": ("mlpkit.sweeps.run", "locked"),
    "write the ledger": ("mlpkit.sweeps.run", "write_ledger"),
    "rename the ledger": ("mlpkit.sweeps.ledger", "sync_folder"),
    "describe the first run": ("mlpkit.sweeps.vectorized", "record_setup"),
    "describe the machine of the first run": ("mlpkit.training.start", "write_json"),
    "write the first checkpoint": ("mlpkit.folders.checkpoint", "save"),
    "rename the first checkpoint": ("mlpkit.folders.checkpoint", "atomic_write"),
    "write the first summary": ("mlpkit.training.checkpoint_files", "write_json"),
    "flush the first runs": ("os", "sync"),
}


@dataclass(frozen=True)
class Whole:
    """A sweep that nothing has stopped, and how long its process took."""

    folder: Path
    seconds: float


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    assert start(folder, "--version").wait() == 0  # whoever forks has imported everything from here on
    began = perf_counter()
    done_well(sweep(folder), "")
    return Whole(folder, perf_counter() - began)


# ------------------------------------------------------------------------------------------- kill -9


@pytest.mark.parametrize("case", range(count(1, 20)))
def test_killed_at_any_instant(case: int, tmp_path: Path, whole: Whole) -> None:
    draw, cases = random.Random(case), count(2, 20)
    instants = [(case + draw.random()) / cases * whole.seconds]
    instants += [draw.random() * whole.seconds] if case % 2 else []
    running, finished = sweep(tmp_path), dict[Path, tuple[bytes, int]]()
    for instant in instants:
        running.ended_within(instant)
        running.kill()
        finished |= files_of_finished(tmp_path)
        running = resume_run(tmp_path)
    about = f"case {case}: killed after {instants}"
    done_well(running, about)
    check_same(tmp_path, whole, about)
    check_untouched(finished, about)


@pytest.mark.long
@pytest.mark.parametrize("moment", list(MOMENTS)[:: count(16, 1)])
def test_killed_where_chance_seldom_hits(moment: str, tmp_path: Path, whole: Whole) -> None:
    running = sweep(tmp_path, prepare=partial(die_in, *MOMENTS[moment]))
    about = f"killed when about to {moment}"
    assert (running.wait(), running.stderr()) == (137, ""), about
    finished = files_of_finished(tmp_path)
    done_well(resume_run(tmp_path), about)
    check_same(tmp_path, whole, about)
    check_untouched(finished, about)


# ------------------------------------------------------------------------------------------- signals


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "tick", "done"), [pytest.param(15, 130, 0, marks=pytest.mark.long), (2, 400, 6)]
)
def test_interrupted(number: int, tick: int, done: int, tmp_path: Path, whole: Whole) -> None:
    running = sweep(tmp_path, prepare=partial(signal_at, number, tick))
    assert running.wait() == 128 + number
    assert running.stderr() == f"mlpkit: interrupted: {done} of 12 runs are done; to go on: {WAY_ON}\n"
    statuses = [json.loads(run.summary.read_text()) for run in runs(tmp_path) if run.summary.exists()]
    assert [about["status"] for about in statuses] == ["done"] * done + ["interrupted"] * 6
    for about in statuses[done:]:
        assert re.fullmatch(r"interrupted after epoch \d+, step \d+; saved", about["error"])
    finished = files_of_finished(tmp_path)
    assert len({path.parent for path in finished if path.name == "summary.json"}) == done
    done_well(resume_run(tmp_path), "")
    check_same(tmp_path, whole, "")
    check_untouched(finished, "")


@pytest.mark.long
@pytest.mark.parametrize("case", range(count(1, 20)))
def test_signals_at_any_instant(case: int, tmp_path: Path, whole: Whole) -> None:
    draw, number = random.Random(case), (15, 2)[case % 2]
    running = sweep(tmp_path)
    wait_for(SweepFolder(tmp_path / SWEEP).ledger, running)
    instant = draw.random() * whole.seconds
    running.ended_within(instant)
    took = end(running, number)
    code, said = running.wait(), running.stderr()
    about = f"case {case}: signal {number} after {instant:.4f} s, {took:.2f} s to its end, it said {said!r}"
    assert took < PATIENCE, about
    assert code in (0, 128 + number), about
    line = rf"interrupted(: \d+ of 12 runs are done; to go on: {re.escape(WAY_ON)})?"
    assert re.fullmatch(rf"mlpkit: {line}\n" if code else "", said), about
    finished = files_of_finished(tmp_path)
    done_well(resume_run(tmp_path), about)
    check_same(tmp_path, whole, about)
    check_untouched(finished, about)


@pytest.mark.long
@pytest.mark.parametrize("case", range(10))
def test_a_second_sigint_ends_it_at_once(case: int, tmp_path: Path, whole: Whole) -> None:
    draw = random.Random(case)
    running = sweep(tmp_path)
    wait_for(SweepFolder(tmp_path / SWEEP).ledger, running)
    running.ended_within(draw.random() * whole.seconds / 2)
    running.send(2)
    running.ended_within(draw.random() * 0.01)
    took = end(running, 2)
    about = f"case {case}: it said {running.stderr()!r}"
    assert running.wait() in (0, 130), about
    assert took < PATIENCE, about
    assert re.fullmatch(r"(mlpkit: interrupted.*\n){0,2}", running.stderr()), about
    done_well(resume_run(tmp_path), about)
    check_same(tmp_path, whole, about)


BATCHED = (*COMMON, "model.hidden=[6]", "trainer.batch_size=16", "optimizer.lr=0.01,0.05")
OPTIONS = {
    "dropout": ("seed=1,2", "model.dropout=0.3", "trainer.accumulate=2"),
    "norms": ("seed=1,2", "model.norm=batch"),
    "full batches": ("seed=1,2", "trainer.batch_size=full"),
    "full batches by autograd": ("seed=1,2", "trainer.batch_size=full", "trainer.engine=autograd"),
    "data of their own": ("dataset.seed=1,2", "scheduler=plateau", "scheduler.patience=1"),
}


@pytest.mark.long
@pytest.mark.parametrize("ends", [partial(signal_at, 15), die_at][: count(1, 2)])
@pytest.mark.parametrize("option", list(OPTIONS)[:: count(9, 1)])
def test_a_sweep_that_is_stopped_within_an_epoch_goes_on_together(
    option: str, ends: Callable[[int], None], tmp_path: Path
) -> None:
    """To the last bit: the same rows in the same products as in a sweep that nothing has stopped."""
    settings = tuple({of.partition("=")[0]: of for of in (*BATCHED, *OPTIONS[option])}.values())
    settings = (*settings, "trainer.epochs=30", "trainer.checkpoint_every=5steps")
    done_well(start(tmp_path / "whole", "train", "-m", *settings), "")
    running = start(tmp_path, "train", "-m", *settings, prepare=partial(ends, 30))
    assert running.wait() in (137, 143), running.stderr()
    saved = [checkpoint.load(run.last, checkpoint.KINDS).state for run in runs(tmp_path)]
    assert len(saved) == 4 and len({state.progress.step for state in saved}) == 1
    assert all(0 < state.progress.epoch < 30 for state in saved)
    if ends is not die_at:  # which leaves what was saved some steps before
        assert all(state.progress.batch > 0 and "losses" in state.epoch for state in saved)
    done_well(start(tmp_path, "resume", SWEEP), "")
    for run, other in zip(runs(tmp_path), runs(tmp_path / "whole"), strict=True):
        assert (content(run.last), content(run.best)) == (content(other.last), content(other.best))
        assert (metrics(run), summary(run)) == (metrics(other), summary(other))
        assert summary(run)["runs_together"] == 4
        assert run.log.read_text().count("one of 4 runs that are trained together") == 2


def test_a_sweep_is_interrupted_while_its_runs_are_built(tmp_path: Path) -> None:
    running = start(
        tmp_path, "train", "-m", *COMMON, "seed=1,2", "trainer.epochs=10000000",
        prepare=partial(signal_in, 15, "mlpkit.sweeps.vectorized", "build"),
    )  # fmt: skip
    assert running.wait() == 143
    assert running.stderr() == f"mlpkit: interrupted: 0 of 2 runs are done; to go on: {WAY_ON}\n"


# -------------------------------------------------------------------------------- two at the same time


@pytest.mark.long
def test_of_two_that_begin_at_once_one_does(tmp_path: Path, whole: Whole) -> None:
    go_now = forks.Event()
    together = partial(meet, forks.Barrier(2), "mlpkit.sweeps.run", "start", go_now)
    loser, winner = in_order_of_ending([sweep(tmp_path, prepare=together) for _ in range(2)])
    assert_in_use(loser, winner)
    go_now.set()
    done_well(winner, "")
    check_same(tmp_path, whole, "")


@pytest.mark.long
def test_a_second_sweep_is_told_who_is_at_it(tmp_path: Path, whole: Whole) -> None:
    reached, go_now = forks.Event(), forks.Event()
    holder = sweep(tmp_path, prepare=partial(hold_at, 60, reached, go_now))
    assert reached.wait(LIMIT)
    assert_in_use(start(tmp_path, "resume", SWEEP), holder)
    assert_in_use(sweep(tmp_path, "run.resume=auto"), holder)
    assert_in_use(sweep(tmp_path), holder)
    name = next(path.name for path in (tmp_path / SWEEP).glob("0000-*"))
    assert_in_use(start(tmp_path, "resume", f"{SWEEP}/{name}"), holder, f"{SWEEP}/{name}")
    assert holder.kill() == 137
    done_well(resume_run(tmp_path), "")
    check_same(tmp_path, whole, "")


# ----------------------------------------------------------------------------------------- failing jobs

LATE = ("optimizer=sgd", "model.activation=relu", "trainer.batch_size=7", "trainer.epochs=30")


@pytest.mark.long
@pytest.mark.parametrize(
    ("rate", "settings", "reason"),
    [
        ("1e30", ("optimizer=sgd", "trainer.epochs=40"), r"step 1 \(epoch 1\): val loss=(nan|inf)"),
        ("1e30", LATE, r"step [1-7] \(epoch 1\): the (loss|gradient of \S+) is not finite"),
        ("3000", LATE, r"step \d+ \(epoch [12]\): (the loss is not finite|val loss=(nan|inf))"),
    ][: count(1, 3)],
)
def test_a_run_that_diverges_fails_alone(
    rate: str, settings: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    common = (*COMMON, *settings)
    for name, rates in (("with", f"0.05,{rate},0.2"), ("without", "0.05,0.2"), ("alone", rate)):
        running = start(tmp_path / name, "train", "-m", *common, f"optimizer.lr={rates}", "seed=1,2,3")
        assert running.wait() == (0 if name == "without" else 1), running.stderr()
    *lines, last = start_lines(tmp_path / "with")
    assert last == f"mlpkit: 3 of 9 runs failed; to try them again: {WAY_ON}"
    assert len(lines) == 3
    shown = f"{float(rate):g}".replace("e+", r"e\+?")
    for seed, line in enumerate(lines, 1):
        assert re.fullmatch(
            rf"mlpkit: 000\d-\w+ \(optimizer.lr={shown} seed={seed}\): {reason}: training diverged; "
            rf"try a lower optimizer\.lr or set trainer\.clip_norm=1.*",
            line,
        ), line
    alone = [line.partition(": step")[2] for line in start_lines(tmp_path / "alone")[-4:-1]]
    assert [line.partition(": step")[2] for line in lines] == alone
    good = [run for run in runs(tmp_path / "with") if status(run) == "done"]
    others = {config_of(run): run for run in runs(tmp_path / "without")}
    assert len(good) == 6
    for run in good:
        check_alike(run, others[config_of(run)], "")
    with Ledger(tmp_path / "with" / SWEEP / "ledger.sqlite") as ledger:
        entries = ledger.entries()
    assert [entry.status for entry in entries] == ["done"] * 3 + ["failed"] * 3 + ["done"] * 3
    for entry in entries[3:6]:
        assert any(entry.error in line for line in lines)
        run = RunFolder(tmp_path / "with" / SWEEP / entry.folder)
        about = json.loads(run.summary.read_text())
        assert about["status"] == "failed" and "training diverged" in about["error"]
    finished = files_of_finished(tmp_path / "with")
    again = start(tmp_path / "with", "resume", SWEEP)
    assert again.wait() == 1
    assert again.stderr().splitlines()[-1] == last
    check_untouched(finished, "")


@pytest.mark.long
def test_early_stopping_takes_runs_out(tmp_path: Path) -> None:
    done_well(
        start(
            tmp_path, "train", "-m", *COMMON, "dataset.noise=0.1,0.4", "seed=1,2",
            "trainer.early_stopping.patience=2,20", "optimizer.lr=0.05", "trainer.epochs=150",
        ),
        "",
    )  # fmt: skip
    ended = set()
    for number, run in enumerate(runs(tmp_path)):
        other = repeat(tmp_path, run, f"outputs/alone-{number}")
        check_alike(run, other, run.path.name)
        ended.add(summary(run)["epochs"])
    assert len(ended) > 3


# -------------------------------------------------------------------------------------- ordinary runs


@pytest.mark.long
def test_a_run_of_a_sweep_is_an_ordinary_run(tmp_path: Path, whole: Whole) -> None:
    shutil.copytree(whole.folder / "outputs", tmp_path / "outputs")
    run = runs(tmp_path)[7]
    name = str(run.path.relative_to(tmp_path))
    other = repeat(tmp_path, run, "outputs/alone")
    check_alike(run, other, "")
    assert files(run.path) == files(other.path)
    for arguments in (
        ("predict", name, "--values", "0.3,0.5"),
        ("evaluate", name),
        ("inspect", name),
        ("plot", name),
        ("resume", name, "trainer.epochs=230"),
        ("train", "--config", f"{name}/config.yaml", "run.dir=null"),
    ):
        done_well(start(tmp_path, *arguments), str(arguments))
    (again,) = (tmp_path / "outputs" / "moons-mlp").iterdir()
    check_alike(RunFolder(again), run, "")
    assert [line["epoch"] for line in metrics(run) if line["split"] == "val"] == list(range(1, 231))
    finished = files_of_finished(tmp_path)
    done_well(resume_run(tmp_path), "")  # the sweep has nothing left to do
    check_untouched(finished, "")


@pytest.mark.long
def test_jobs_of_all_kinds_in_one_sweep(tmp_path: Path) -> None:
    """What can be stacked, what cannot, data of other seeds and shapes, and a job that cannot be built."""
    running = start(
        tmp_path, "train", "-m", f"run.dir={SWEEP}", "dataset=moons,line", "model=mlp", "model.hidden=[4]",
        "model.norm=none,layer", "dataset.n=40,50", "dataset.seed=1,2", "trainer.epochs=12",
        "trainer.batch_size=10", "seed=1,1", "run.progress=none",
    )  # fmt: skip
    assert running.wait() == 0, running.stderr()
    assert running.stderr() == "left out 16 runs equal to another\n"
    assert len(runs(tmp_path)) == 16
    for number, run in list(enumerate(runs(tmp_path)))[:: count(3, 1)]:
        check_alike(run, repeat(tmp_path, run, f"outputs/alone-{number}"), run.path.name)


def test_a_job_that_cannot_be_built_stops_no_other(tmp_path: Path) -> None:
    running = start(
        tmp_path, "train", "-m", *COMMON, "scheduler=cosine", "scheduler.warmup_steps=0,500", "seed=1,2",
        "trainer.epochs=20",
    )  # fmt: skip
    assert running.wait() == 1
    reason = "scheduler.warmup_steps=500: the run has 20 steps; choose fewer"
    names = [entry.folder for entry in entries_of(tmp_path)]
    assert running.stderr().splitlines() == [
        f"mlpkit: {names[2]} (scheduler.warmup_steps=500 seed=1): {reason}",
        f"mlpkit: {names[3]} (scheduler.warmup_steps=500 seed=2): {reason}",
        f"mlpkit: 2 of 4 runs failed; to try them again: {WAY_ON}",
    ]
    assert [run.path.name for run in runs(tmp_path)] == names[:2]


# --------------------------------------------------------------------------------------- run.resume=auto

HOLDS_A_SWEEP = (
    f"mlpkit: run.dir={SWEEP}: already holds a sweep; name a new folder, or mlpkit resume {SWEEP}\n"
)


@pytest.mark.long
def test_auto_begins_goes_on_and_has_nothing_left_to_do(tmp_path: Path, whole: Whole) -> None:
    running = sweep(tmp_path, "run.resume=auto", prepare=partial(signal_at, 15, 400))
    assert running.wait() == 143
    finished = files_of_finished(tmp_path)
    for _ in range(2):
        done_well(sweep(tmp_path, "run.resume=auto"), "")
        check_same(tmp_path, whole, "")
        check_untouched(finished, "")
        finished = files_of_finished(tmp_path)
    other = sweep(tmp_path, "run.resume=auto", "dataset.seed=5")
    line = f"mlpkit: run.dir={SWEEP}: holds a sweep of other runs; name a new folder\n"
    assert (other.wait(), other.stderr()) == (2, line)
    again = sweep(tmp_path)
    assert (again.wait(), again.stderr()) == (2, HOLDS_A_SWEEP)
    check_untouched(finished, "")


@pytest.mark.long
def test_a_run_that_was_removed_is_trained_again(tmp_path: Path, whole: Whole) -> None:
    shutil.copytree(whole.folder / "outputs", tmp_path / "outputs")
    shutil.rmtree(runs(tmp_path)[3].path)
    finished = files_of_finished(tmp_path)
    done_well(resume_run(tmp_path), "")
    check_same(tmp_path, whole, "")
    check_untouched(finished, "")


# ------------------------------------------------------------------------------------------- tools


def sweep(folder: Path, *settings: str, prepare: Callable[[], None] | None = None) -> Running:
    """Begin the sweep in a working folder."""
    return start(folder, "train", "-m", *ARGUMENTS, *settings, prepare=prepare)


def resume_run(folder: Path) -> Running:
    """Go on with the sweep of a working folder, or begin it where its jobs were not written down."""
    if SweepFolder(folder / SWEEP).ledger.exists():
        return start(folder, "resume", SWEEP)
    return sweep(folder)


def hold_at(tick: int, reached: Event, resume_run: Event) -> None:
    """Say that the process asks for the tick-th time whether to stop, and wait there."""
    from mlpkit.training.stop import StopRequest

    check, ticks = StopRequest.check, 0

    def held(request: StopRequest) -> None:
        nonlocal ticks
        ticks += 1
        if ticks == tick:
            reached.set()
            resume_run.wait()
        check(request)

    StopRequest.check = held  # type: ignore[method-assign]


def signal_in(number: int, where: str, name: str) -> None:
    """Send the process a signal when it first calls a function through a module."""
    import importlib
    import signal

    module = importlib.import_module(where)
    function = getattr(module, name)

    def signalled(*arguments: Any, **options: Any) -> Any:
        signal.raise_signal(number)
        return function(*arguments, **options)

    setattr(module, name, signalled)


def repeat(folder: Path, run: RunFolder, name: str) -> RunFolder:
    """Train a run's config alone."""
    config = str(run.config.relative_to(folder))
    where = ("run.root=outputs", f"run.dir={name}", "run.progress=none")
    done_well(start(folder, "train", "--config", config, *where), config)
    return RunFolder(folder / name)


def entries_of(folder: Path) -> list[Any]:
    with Ledger(SweepFolder(folder / SWEEP).ledger) as ledger:
        return list(ledger.entries())


def runs(folder: Path) -> list[RunFolder]:
    """Return the run folders of a working folder's sweep, in their order."""
    return [RunFolder(path) for path in sorted((folder / SWEEP).glob("0*-*"))]


def files(folder: Path) -> set[str]:
    """Return the names of all files, but for those of TensorBoard, which a sweep has in another place."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith("tensorboard")}


def status(run: RunFolder) -> str | None:
    return json.loads(run.summary.read_text())["status"] if run.summary.exists() else None


def config_of(run: RunFolder) -> str:
    return json.dumps({k: v for k, v in _config(run).items() if k not in ("run", "format")}, sort_keys=True)


def _config(run: RunFolder) -> dict[str, Any]:
    from mlpkit.config.config import to_dict

    return to_dict(checkpoint.read_header(run.last).config)


def start_lines(folder: Path) -> list[str]:
    """Return what the last process of a working folder has said."""
    return max(folder.glob("stderr-*")).read_text().splitlines()


def files_of_finished(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Return the content and the time of each file of the finished runs."""
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for run in runs(folder)
        if status(run) in ("done", "stopped early")
        for path in run.path.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def done_well(running: Running, about: str) -> None:
    code = running.wait()
    assert (code, running.stderr()) == (0, ""), about


def assert_in_use(loser: Running, winner: Running, where: str = SWEEP) -> None:
    code, said = loser.wait(), loser.stderr()
    found = re.fullmatch(
        rf"mlpkit: {where}: in use by process (\d+) on (\S+); wait until it has ended, or stop it\n", said
    )
    assert code == IN_USE and found, (code, said)
    assert int(found[1]) == winner.number


def check_untouched(finished: dict[Path, tuple[bytes, int]], about: str) -> None:
    """Check that no finished run was repeated."""
    for path, (before, time) in finished.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == (time, before), f"{path}: {about}"


def check_same(folder: Path, whole: Whole, about: str) -> None:
    """Check that a sweep has ended as the one that nothing has stopped."""
    with sqlite3.connect(SweepFolder(folder / SWEEP).ledger) as ledger:
        rows = ledger.execute("SELECT number, status, error FROM jobs ORDER BY number").fetchall()
    ledger.close()
    assert rows == [(number, DONE, "") for number in range(JOBS)], about
    ours, theirs = runs(folder), runs(whole.folder)
    assert [run.path.name for run in ours] == [run.path.name for run in theirs], about
    for run, other in zip(ours, theirs, strict=True):
        check_alike(run, other, f"{run.path}: {about}")
        assert files(run.path) - other_checkpoints(run) == files(other.path) - other_checkpoints(other), about
    left = [path.name for path in (folder / SWEEP).iterdir() if path.is_file()]
    assert sorted(left) == ["command.txt", "ledger.sqlite", "overrides.yaml"], about


def other_checkpoints(run: RunFolder) -> set[str]:
    """Return those that are kept for when the newest is damaged; their steps tell where a run was stopped."""
    return {str(path.relative_to(run.path)) for path in run.older()}


def check_alike(run: RunFolder, other: RunFolder, about: str) -> None:
    """Check that two runs of one config have come to the same, but for how they round."""
    ours, theirs = (
        {name: value for name, value in summary(of).items() if name not in ("runs_together", "final")}
        for of in (run, other)
    )
    assert ours == approximately(theirs), about
    assert metrics(run) == [approximately(line) for line in metrics(other)], about
    for path, expected in ((run.last, other.last), (run.best, other.best)):
        state, wanted = (checkpoint.load(file, checkpoint.KINDS).state for file in (path, expected))
        assert (state.progress.epoch, state.progress.step) == (wanted.progress.epoch, wanted.progress.step), (
            about
        )
        for name, tensor in wanted.model.items():
            torch.testing.assert_close(state.model[name], tensor, rtol=0, atol=WEIGHTS, msg=about)


def approximately(value: Any) -> Any:
    """Return what is equal to a value but for rounding."""
    if isinstance(value, dict):
        return {name: approximately(item) for name, item in value.items()}
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-3, abs=1e-5)
    return value
