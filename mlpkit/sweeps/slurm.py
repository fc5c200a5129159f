"""Trains each job as a Slurm job, through submitit."""

import shlex
import signal
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import submitit
from submitit.core.utils import DelayedSubmission, FailedSubmissionError, UncompletedJobError

from mlpkit.config.plugins import Parcel
from mlpkit.errors import ConfigError, MlpkitError, RunInterruptedError, WriteError
from mlpkit.folders.run_folder import refuse_other_kind
from mlpkit.sweeps.job import clear_if_fresh, last_line, train_and_report
from mlpkit.sweeps.work import Work
from mlpkit.system.device import cores
from mlpkit.system.failed_write import failed_write

POLL_SECONDS = 0.2  # between two checks for finished jobs
STOP_SECONDS = 40.0  # how long to wait for cancelled jobs; Slurm itself kills them after 30
SHARED = ("cluster", "name", "timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node")  # submitit's names
DEFAULTS = {"name": "mlpkit", "timeout_min": 60}  # a job that takes longer is requeued and resumed

PYTHON = f"{shlex.quote(sys.executable)} -P"  # -P: import nothing from the working directory

SlurmJob = submitit.Job[str | None]


class Slurm:
    """The Slurm launcher, with checked settings."""

    def __init__(self, settings: Sequence[str], workers: int | None) -> None:
        """Check the settings.

        Args:
            settings: options of sbatch, each `key=value`; cluster=local runs the jobs on this machine, to try
                them out.
            workers: number of jobs at a time; None leaves it to Slurm.

        Raises:
            ConfigError: Slurm is not installed, or does not know a setting.
        """
        self.settings = {**DEFAULTS, **read(settings)}
        self.cluster = self.settings.pop("cluster", "slurm")
        self.workers = workers
        with TemporaryDirectory() as folder:
            self._executor(Path(folder))

    def __call__(self, work: Work) -> None:
        """Train the jobs.

        Raises:
            ConfigError: the path of the sweep's folder contains %, which Slurm reads as a pattern.
            RunInterruptedError: a stop signal arrived; the jobs have saved their runs and ended.
            DataError: the folder of the jobs' results is a link or no folder.
            WriteError: the jobs cannot be submitted.
        """
        path = work.folder.path.resolve()
        if "%" in str(path):
            raise ConfigError(f"--launcher=slurm: {path}: Slurm takes % for a pattern; set run.root")
        executor = self._executor(_make_folder(path / "slurm"))
        waiting, running = list(reversed(work.entries)), dict[int, SlurmJob]()
        places = self.workers or (cores() if self.cluster == "local" else len(waiting))
        work.display.begin_processes(len(waiting), min(places, len(waiting)))
        if self.cluster != "local":
            places = len(waiting)  # submit all at once: Slurm queues them itself
        try:
            while (waiting or running) and work.stop.signal_number is None:
                numbers = [waiting.pop() for _ in range(min(len(waiting), places - len(running)))]
                running |= _submit(executor, work, numbers)
                work.display.show_running(len(running))
                for number in [number for number, job in running.items() if job.done()]:
                    reason = _reason(running.pop(number))
                    work.on_end(number, None if reason is None else MlpkitError(reason))
                time.sleep(POLL_SECONDS if running else 0)
        finally:
            for job in running.values():
                job.cancel(check=False)
        cancelled = time.monotonic()
        while time.monotonic() - cancelled < STOP_SECONDS and not all(job.done() for job in running.values()):
            time.sleep(POLL_SECONDS)
        work.stop.check()

    def _executor(self, folder: Path) -> submitit.AutoExecutor:
        try:
            executor = submitit.AutoExecutor(folder, cluster=self.cluster, slurm_python=PYTHON)
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                f"--launcher=slurm: {_first_line(error)}; --launcher=processes needs no Slurm"
            ) from None
        at_once = {} if self.workers is None else {"slurm_array_parallelism": self.workers}
        try:
            executor.update_parameters(**at_once, **self.settings)
        except (AssertionError, NameError, TypeError, ValueError) as error:
            raise ConfigError(f"--slurm: {_first_line(error)}") from None
        return executor


class Training:
    """The function of a Slurm job; when its time is up, submitit requeues it and the run is resumed."""

    def __call__(self, parcel: Parcel) -> str | None:
        """Train; return the last line of the error, or None if it succeeded.

        A time-out signal is passed on to submitit after the run has been saved.
        """
        try:
            return train_and_report(*parcel.open())
        except ConfigError as error:  # a plug-in cannot be loaded
            return last_line(error)
        except RunInterruptedError as error:
            if signal.getsignal(error.signal_number) not in (signal.SIG_DFL, signal.default_int_handler):
                signal.raise_signal(error.signal_number)
            return last_line(error)

    def checkpoint(self, parcel: Parcel) -> DelayedSubmission:
        """Return the call to submit again: the same one, since a run finds its own checkpoint."""
        return DelayedSubmission(self, parcel)


def read(settings: Sequence[str]) -> dict[str, Any]:
    """Return the settings as submitit's parameters.

    Raises:
        ConfigError: a setting is not `key=value`, or asks for several tasks.
    """
    parameters: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not (key and equals and text):
            raise ConfigError(f"--slurm={setting}: must be KEY=VALUE, as in --slurm partition=gpu")
        if key in ("nodes", "tasks_per_node"):
            raise ConfigError(f"--slurm={setting}: each run is one task of one node")
        name = key if key in SHARED or key.startswith("slurm_") else f"slurm_{key}"
        parameters[name] = text if key in ("cluster", "name") else _value(text)
    return parameters


def _make_folder(parent: Path) -> Path:
    """Make a new folder for the jobs' results: they are pickles, and older files may be foreign.

    Raises:
        DataError: the parent is a link or no folder.
        WriteError: the folder cannot be made.
    """
    refuse_other_kind(parent, stat.S_ISDIR, "folder")
    try:
        parent.mkdir(exist_ok=True)
        return Path(mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=parent))
    except OSError as error:
        raise failed_write(parent, error) from None


def _value(text: str) -> Any:
    words: Mapping[str, bool] = {"true": True, "false": False}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _submit(executor: submitit.AutoExecutor, work: Work, numbers: Sequence[int]) -> dict[int, SlurmJob]:
    """Submit jobs; return them by their numbers.

    Raises:
        WriteError: Slurm does not accept them.
    """
    jobs: dict[int, SlurmJob] = {}
    if not numbers:
        return jobs
    try:
        with executor.batch():
            for number in numbers:
                clear_if_fresh(work, number)
                parcel = Parcel((work.config(number), work.origin_of(number)))
                jobs[number] = executor.submit(Training(), parcel)
    except (FailedSubmissionError, UncompletedJobError, OSError) as error:
        raise WriteError(f"--launcher=slurm: cannot submit the jobs ({_first_line(error)})") from None
    return jobs


def _reason(job: SlurmJob) -> str | None:
    """Return the error of a job that has ended, or None if it succeeded."""
    try:
        return job.result()
    except UncompletedJobError:  # it was killed and left no result
        lines = (job.stderr() or "").strip().splitlines()
        last = f"{lines[-1]}; " if lines else ""
        return f"ended without a result ({job.state}); {last}see {job.paths.stderr}"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
