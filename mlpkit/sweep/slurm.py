"""Trains each job as a job of Slurm, through submitit."""

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
from mlpkit.runs.run_folder import refuse_other
from mlpkit.sweep.job import is_fresh, last_line, outcome
from mlpkit.sweep.work import Work
from mlpkit.system.device import cores

TICK = 0.2  # seconds between two looks
PATIENCE = 40.0  # seconds in which Slurm's jobs end that were told to; Slurm itself waits 30
SHARED = ("cluster", "name", "timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node")  # else sbatch's own
DEFAULTS = {"name": "mlpkit", "timeout_min": 60}  # a job that takes longer is queued again, and goes on

PYTHON = f"{shlex.quote(sys.executable)} -P"  # which leaves the working directory alone

Outcome = submitit.Job[str | None]


class Slurm:
    """A launcher whose settings have been found to be good."""

    def __init__(self, settings: Sequence[str], workers: int | None) -> None:
        """Take what the command line says.

        Args:
            settings: `key=value` each, for sbatch; cluster=local takes this machine instead, for a trial.
            workers: jobs at a time; None leaves that to Slurm.

        Raises:
            ConfigError: Slurm is not there, or does not know a setting.
        """
        self.settings = {**DEFAULTS, **read(settings)}
        self.cluster = self.settings.pop("cluster", "slurm")
        self.workers = workers
        with TemporaryDirectory() as nowhere:
            self._executor(Path(nowhere))

    def __call__(self, work: Work) -> None:
        """Train the jobs.

        Raises:
            ConfigError: the sweep's folder has a name that Slurm reads in its own way.
            RunInterruptedError: somebody wished to stop; the jobs have saved what they had, and have ended.
            DataError: what jobs say would go elsewhere.
            WriteError: they cannot be submitted.
        """
        path = work.folder.path.resolve()
        if "%" in str(path):
            raise ConfigError(f"--launcher=slurm: {path}: Slurm takes % for a pattern; set run.root")
        executor = self._executor(_make_folder(path / "slurm"))
        waiting, running = list(reversed(work.entries)), dict[int, Outcome]()
        places = self.workers or (cores() if self.cluster == "local" else len(waiting))
        work.display.begin_apart(len(waiting), min(places, len(waiting)))
        if self.cluster != "local":
            places = len(waiting)  # Slurm takes them all, and queues them itself
        try:
            while (waiting or running) and work.wish.signal_number is None:
                numbers = [waiting.pop() for _ in range(min(len(waiting), places - len(running)))]
                running |= _submit(executor, work, numbers)
                work.display.show_running(len(running))
                for number in [number for number, job in running.items() if job.done()]:
                    reason = _reason(running.pop(number))
                    work.ended(number, None if reason is None else MlpkitError(reason))
                time.sleep(TICK if running else 0)
        finally:
            for job in running.values():
                job.cancel(check=False)
        told = time.monotonic()
        while time.monotonic() - told < PATIENCE and not all(job.done() for job in running.values()):
            time.sleep(TICK)
        work.wish.check()

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
    """What Slurm's job calls; submitit queues it again where its time is up, and the run goes on."""

    def __call__(self, parcel: Parcel) -> str | None:
        """Train; return the last line of the error, or None.

        A signal that says that the time is up goes to submitit as soon as the run has been saved.
        """
        try:
            return outcome(*parcel.open())
        except ConfigError as error:  # of a plug-in
            return last_line(error)
        except RunInterruptedError as error:
            if signal.getsignal(error.signal_number) not in (signal.SIG_DFL, signal.default_int_handler):
                signal.raise_signal(error.signal_number)
            return last_line(error)

    def checkpoint(self, parcel: Parcel) -> DelayedSubmission:
        """Return what is to be called next time: the same, since a run finds its own checkpoints."""
        return DelayedSubmission(self, parcel)


def read(settings: Sequence[str]) -> dict[str, Any]:
    """Return submitit's parameters.

    Raises:
        ConfigError: a setting is not `key=value`, or asks for several tasks.
    """
    found: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not (key and equals and text):
            raise ConfigError(f"--slurm={setting}: must be KEY=VALUE, as in --slurm partition=gpu")
        if key in ("nodes", "tasks_per_node"):
            raise ConfigError(f"--slurm={setting}: each run is one task of one node")
        name = key if key in SHARED or key.startswith("slurm_") else f"slurm_{key}"
        found[name] = text if key in ("cluster", "name") else _value(text)
    return found


def _make_folder(parent: Path) -> Path:
    """Make a folder for what jobs say; it is pickled, and what lay there may be foreign.

    Raises:
        DataError: it would lie elsewhere.
        WriteError: it cannot be made.
    """
    refuse_other(parent, stat.S_ISDIR, "folder")
    try:
        parent.mkdir(exist_ok=True)
        return Path(mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=parent))
    except OSError as error:
        raise WriteError(f"{parent}: cannot be written ({error.strerror})") from None


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


def _submit(executor: submitit.AutoExecutor, work: Work, numbers: Sequence[int]) -> dict[int, Outcome]:
    """Return the jobs, by their numbers; those that cannot be submitted have ended."""
    jobs: dict[int, Outcome] = {}
    if not numbers:
        return jobs
    try:
        with executor.batch():
            for number in numbers:
                is_fresh(work, number)
                parcel = Parcel((work.config(number), work.origin_of(number)))
                jobs[number] = executor.submit(Training(), parcel)
    except (FailedSubmissionError, UncompletedJobError, OSError) as error:
        raise WriteError(f"--launcher=slurm: cannot submit the jobs ({_first_line(error)})") from None
    return jobs


def _reason(job: Outcome) -> str | None:
    """Return why a job that has ended has failed."""
    try:
        return job.result()
    except UncompletedJobError:  # it has not come to say it itself
        said = (job.stderr() or "").strip().splitlines()
        last = f"{said[-1]}; " if said else ""
        return f"ended without a result ({job.state}); {last}see {job.paths.stderr}"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
