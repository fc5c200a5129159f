"""The other processes of a run that several train: each takes the steps of the first, and writes nothing."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mlpkit.config.config import parse
from mlpkit.engines.experiment import Experiment
from mlpkit.errors import DataError, LostProcessError, MlpkitError, RunInterruptedError
from mlpkit.folders import checkpoint
from mlpkit.folders.choices import Choices
from mlpkit.folders.state import KINDS, State
from mlpkit.folders.trust import Trust
from mlpkit.system import launched
from mlpkit.training.build import build
from mlpkit.training.in_memory import MemoryRecorder
from mlpkit.training.leader import CHECKPOINT, JOB, join, stop_together
from mlpkit.training.states import restore
from mlpkit.training.stop import stop_on_signals
from mlpkit.training.trainer import Trainer

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

PATIENCE = timedelta(days=1)  # with a first process that still reads its data


class FollowingRecorder(MemoryRecorder):
    """Keeps nothing: the first process writes the run's files."""

    def __init__(self, experiment: Experiment) -> None:
        """Score the same splits at the end as the first process does."""
        super().__init__(experiment)
        self.splits = list(experiment.dataset.splits)

    def log(self, epoch: Any) -> None:
        """See `Recorder.log`."""

    def save(self, state: State, at_end: bool = False) -> None:
        """See `Recorder.save`."""


def follow() -> int:
    """Train with the first process until it ends; return the exit code.

    Raises:
        MlpkitError: this process cannot train the run.
    """
    number = f"process {launched.rank() + 1} of {launched.size()}"
    try:
        return _follow()
    except RunInterruptedError as error:  # the first process says it
        return 0 if isinstance(error, LostProcessError) else error.exit_code
    except MlpkitError as error:
        raise type(error)(*(f"{number}: {problem}" for problem in error.args)) from None


def _follow() -> int:
    processes = join()
    store, rank = processes.store, launched.rank()
    try:
        store.wait([JOB], PATIENCE)
        job = json.loads(store.get(JOB))
    except RuntimeError as error:
        raise LostProcessError("the first process of the training has ended") from error
    if job is None:
        return 0
    trust = Trust[job["trust"]]
    engine = build([parse(job["config"])], trust, Choices(**job["choices"]), processes=processes)
    experiment = engine.experiments[0]
    if job["fingerprint"] != experiment.dataset.fingerprint:
        raise DataError(
            f"dataset={experiment.dataset.name}: its data is not that of the first process; give all "
            "machines the same files"
        )
    with stop_on_signals() as stop:
        stop_together(stop, processes)
        recorder = FollowingRecorder(experiment)
        trainer = Trainer(engine, [recorder], stop, lambda recorder, error: None)
        if job["resume"]:
            restore(trainer, [_received(store, trust)])
        store.set(f"ready/{rank}", "")
        processes.connect(engine.device)
        try:
            trainer.fit()
        except LostProcessError:
            _say_if_first_is_gone()
            raise
    return 0 if recorder.error is None else 1


def _received(store: "Store", trust: Trust) -> State:
    """Return the state that the run is resumed from, which the first process has sent."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint.safetensors")
        path.write_bytes(store.get(CHECKPOINT))
        return checkpoint.load(path, KINDS, trust).state


def _say_if_first_is_gone() -> None:
    """Say that the first process was killed, which cannot say it itself; by the second alone."""
    starter, end = launched.starter(), time.monotonic() + 1
    if starter is None or launched.rank() != 1:
        return
    while time.monotonic() < end:
        if os.getppid() != starter:
            from mlpkit.system.console import print_error

            print_error(
                "the first process of the training was killed: its run folder has the last checkpoint; "
                "to go on: mlpkit resume"
            )
            return
        time.sleep(0.05)
