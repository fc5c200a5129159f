"""Trains a run again in another folder, in the same way: alone, or together with the runs of its sweep."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from mlpkit.config.config import Config
from mlpkit.errors import DataError, RunInterruptedError
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.choices import Choices, stored_choices
from mlpkit.folders.new_run import create
from mlpkit.folders.origin import Origin
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import read_summary
from mlpkit.folders.sweep_folder import SweepFolder, is_sweep
from mlpkit.folders.trust import Trust
from mlpkit.sweeps.datasets import Datasets
from mlpkit.sweeps.display import SweepDisplay
from mlpkit.sweeps.groups import group
from mlpkit.sweeps.ledger import JobRecord, Ledger
from mlpkit.sweeps.remembered import runs_per_job
from mlpkit.sweeps.vectorized import train_together
from mlpkit.sweeps.work import Work
from mlpkit.system.device import choose_device
from mlpkit.training.build import build
from mlpkit.training.recorder import Recorder
from mlpkit.training.start import record_setup
from mlpkit.training.stop import stop_on_signals
from mlpkit.training.trainer import Trainer


def train_again(folder: RunFolder, stored: Checkpoint, scratch: Path, trust: Trust) -> tuple[RunFolder, int]:
    """Train a run again, with the engine and the number of threads that it used.

    Args:
        folder: the run.
        stored: its checkpoint; the training stops at its step.
        scratch: an empty folder.
        trust: whether the run is the user's own or foreign.

    Returns:
        The folder of the new run, and how many runs were trained together.

    Raises:
        MlpkitError: it cannot be trained, or has failed.
    """
    choices = stored_choices(folder, stored.config, choose_device(stored.config.device))
    origin = Origin("mlpkit verify", trust)
    to_end = _has_ended(folder, stored)
    members = _members(folder, trust) if to_end and runs_together(folder) > 1 else {}
    if len(members) > 1:
        return _train_members(members, folder.path.name, scratch, origin, choices), len(members)
    return _train_alone(moved(stored.config, scratch), origin, choices, None if to_end else stored), 1


def runs_together(folder: RunFolder) -> int:
    """Return the number of runs that were trained together with a finished run, itself included."""
    with suppress(DataError):
        number = read_summary(folder).get("runs_together", 1)
        return number if isinstance(number, int) and number > 0 else 1
    return 1


def _has_ended(folder: RunFolder, stored: Checkpoint) -> bool:
    """Whether a run was trained to its end and the checkpoint was saved there."""
    with suppress(DataError):
        summary, progress = read_summary(folder), stored.state.progress
        ended = summary.get("status") in ("done", "stopped early")
        return ended and summary.get("steps") == progress.step and progress.epoch == summary.get("epochs")
    return False


def moved(config: Config, root: Path) -> Config:
    """Return a config that writes into another folder, and only what is compared."""
    folder = str(root / "run")
    return config.with_run(
        root=str(root), dir=folder, plots=False, loggers=(), progress="none", resume="never"
    )


def _train_alone(config: Config, origin: Origin, choices: Choices, until: Checkpoint | None) -> RunFolder:
    """Train a run to the step of a checkpoint, or to its end."""
    engine = build([config], origin.trust, choices)
    reached = False
    with stop_on_signals() as stop, ExitStack() as locks:

        def on_step(trainer: Trainer) -> None:
            nonlocal reached
            if until is not None and trainer.progress.step >= until.state.progress.step:
                reached = True
                stop.request(signal.SIGTERM)  # the trainer saves a checkpoint and stops

        folder = create(engine.experiments[0].config, origin.trust, locks)
        recorder = Recorder(engine.experiments[0], folder, None)
        record_setup(recorder, engine, origin)
        recorder.begin(engine)
        failures = list[BaseException]()
        trainer = Trainer(
            engine,
            [recorder],
            stop,
            lambda _, error: failures.extend([error] if error else []),
            on_step,
            alone=True,
        )
        try:
            trainer.fit()
        except RunInterruptedError:
            if not reached:
                raise
        else:
            if failures:
                raise failures[0]
    return folder


def _members(folder: RunFolder, trust: Trust) -> Mapping[int, JobRecord]:
    """Return the jobs that the sweep of a run trains together with it, by number; empty without a sweep."""
    sweep = SweepFolder(folder.path.resolve().parent)
    if not is_sweep(sweep.path) or sweep.search.exists():  # a search chooses its groups as it goes
        return {}
    sweep.open_for_writing()
    with Ledger(sweep.ledger) as ledger:
        entries = {entry.number: entry for entry in ledger.entries()}
    configs = {number: entry.config for number, entry in entries.items()}
    groups, _ = group(configs, Datasets(trust, sweep.ledger), most=runs_per_job(sweep))
    for each in groups:
        numbers = [number for number in each.numbers if number in entries]
        if any(entries[number].folder == folder.path.resolve().name for number in numbers):
            return {number: entries[number] for number in numbers}
    return {}


def _train_members(
    members: Mapping[int, JobRecord], name: str, scratch: Path, origin: Origin, choices: Choices
) -> RunFolder:
    (number,) = (number for number, entry in members.items() if entry.folder == name)
    failures = dict[int, BaseException]()

    def on_end(ended: int, error: BaseException | None) -> None:
        if error is not None:
            failures[ended] = error

    entries = {
        number: replace(entry, config=moved(entry.config, scratch)) for number, entry in members.items()
    }
    with stop_on_signals() as stop, silent() as console:
        display = SweepDisplay(console, len(entries), 0)
        datasets = Datasets(origin.trust)
        work = Work(SweepFolder(scratch), entries, origin, stop, display, on_end, datasets)
        configs = {number: work.config(number) for number in entries}
        train_together(work, configs, {}, choices, on_end)
    if number in failures:
        raise failures[number]
    return RunFolder(scratch / name)


@contextmanager
def silent() -> Iterator[Console]:
    """Give a console that shows nothing."""
    with Path(os.devnull).open("w") as devnull:
        yield Console(file=devnull)
