"""Trains each job as a Slurm job, through submitit."""

import re
import shlex
import signal
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import submitit
from submitit.core.utils import DelayedSubmission, FailedSubmissionError, UncompletedJobError

from mlpkit.config.launcher import Ended, JobResult, LostJob, Workers
from mlpkit.config.plugins import Parcel
from mlpkit.config.problems import did_you_mean
from mlpkit.errors import ConfigError, WriteError
from mlpkit.folders.run_folder import refuse_other_kind
from mlpkit.sweeps.packed_job import train_job
from mlpkit.sweeps.slurm_queue import cancel_jobs_of, queued
from mlpkit.sweeps.slurm_settings import CLUSTERS, KNOWN, NOT_GIVEN, read
from mlpkit.system.device import cores
from mlpkit.system.failed_write import failed_write

STOP_SECONDS = 40.0  # how long to wait for cancelled jobs; Slurm itself kills them after 30
QUEUE_SECONDS = 10.0  # between two looks into Slurm's queue, which are dear for it
AT_ONCE = "slurm_array_parallelism"  # jobs
DEFAULTS = {"name": "mlpkit", "timeout_min": 60}  # a job that takes longer is requeued and resumed

PYTHON = f"{shlex.quote(sys.executable)} -P"  # -P: import nothing from the working directory

SlurmJob = submitit.Job[JobResult]


class Slurm(Workers):
    """The jobs of Slurm, or on this machine with cluster=local."""

    def __init__(self, settings: Sequence[str], workers: int | None, folder: Path) -> None:
        """Make the folder of the jobs' results.

        Args:
            settings: options of sbatch, each `key=value`; cluster=local runs the jobs on this machine, to try
                them out.
            workers: number of jobs at a time; None leaves it to Slurm.
            folder: the sweep's folder.

        Raises:
            ConfigError: Slurm does not know a setting, or the folder's path contains %, which it reads as a
                pattern.
            DataError: the folder of the results is a link or no folder.
            WriteError: it cannot be made.
        """
        path = folder.resolve()
        if "%" in str(path):
            raise ConfigError(f"--launcher=slurm: {path}: Slurm takes % for a pattern; set run.root")
        self._executor = _executor(settings, workers, _make_folder(path / "slurm"))
        is_local = self._executor.cluster == "local"
        self.places, self.has_queue = workers or (cores() if is_local else None), not is_local
        self._running: dict[int, SlurmJob] = {}
        self._missing: set[int] = set()  # jobs that were not in Slurm's queue when it was last looked into
        self._looked_at = 0.0
        self._stopped_at: float | None = None
        if not is_local:
            cancel_jobs_of(path / "slurm")

    def submit(self, jobs: Mapping[int, Parcel]) -> None:
        """See `Workers.submit`; Slurm gets one array."""
        submitted: dict[int, SlurmJob] = {}
        try:
            with self._executor.batch():
                for number, parcel in jobs.items():
                    submitted[number] = self._executor.submit(Training(), parcel)
        except (FailedSubmissionError, UncompletedJobError, OSError) as error:
            raise WriteError(f"--launcher=slurm: cannot submit the jobs ({_first_line(error)})") from None
        self._running |= submitted

    def collect(self, seconds: float) -> Ended:
        """See `Workers.collect`."""
        ended = self._ended()
        if not ended:
            time.sleep(seconds)
        if self._stopped_at is not None and time.monotonic() - self._stopped_at > STOP_SECONDS:
            ended = list(self._running)  # Slurm does not tell that they are gone
        return [(number, _result(self._running.pop(number))) for number in ended]

    def _ended(self) -> list[int]:
        """Return the jobs that have a result, or have been missing in Slurm's queue twice.

        A shared folder may show a result some seconds after the queue has lost the job.
        """
        if not self.has_queue:
            return [number for number, job in self._running.items() if job.done()]
        ended = {number for number, job in self._running.items() if job.paths.result_pickle.exists()}
        if time.monotonic() - self._looked_at > (QUEUE_SECONDS if self._stopped_at is None else 2.0):
            if (jobs := queued()) is not None:
                missing = {number for number, job in self._running.items() if job.job_id not in jobs}
                ended |= missing & self._missing
                self._missing = missing
            self._looked_at = time.monotonic()
        return sorted(ended)

    def stop(self) -> None:
        """See `Workers.stop`."""
        self._stopped_at = time.monotonic()
        for job in self._running.values():
            job.cancel(check=False)

    def close(self) -> None:
        """See `Workers.close`."""
        self.stop()


def check(settings: Sequence[str], workers: int | None) -> None:
    """Check the settings; see `Slurm`.

    Raises:
        ConfigError: Slurm is not installed, or does not know a setting.
    """
    with TemporaryDirectory() as folder:
        _executor(settings, workers, Path(folder))


def _executor(settings: Sequence[str], workers: int | None, folder: Path) -> submitit.AutoExecutor:
    parameters = {**DEFAULTS, **read(settings)}
    cluster = parameters.pop("cluster", "slurm")
    if cluster not in CLUSTERS:
        raise ConfigError(f"--slurm=cluster={cluster}: must be {' or '.join(CLUSTERS)}")
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster, slurm_python=PYTHON)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"--launcher=slurm: {_first_line(error)}; --launcher=processes needs no Slurm"
        ) from None
    if workers is not None and AT_ONCE in parameters:
        raise ConfigError(
            f"--workers={workers}: --slurm=array_parallelism limits the jobs too; leave out one"
        )
    at_once = {} if workers is None else {AT_ONCE: workers}
    try:
        executor.update_parameters(**at_once, **parameters)
    except NameError as error:  # its text begins with the setting, and lists those of Slurm
        key = str(error).partition("'")[2].partition("'")[0].removeprefix("slurm_")
        listed = str(error).partition("Valid arguments:")[2].partition("\n")[0]
        known = sorted({*KNOWN, *re.findall(r"\w+", listed)} - set(NOT_GIVEN))
        way = did_you_mean(key.replace("-", "_"), known) or f"; there are {', '.join(known)}"
        raise ConfigError(f"--slurm={key}: no such setting{way}") from None
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError(f"--slurm: {_first_line(error)}") from None
    return executor


class Training:
    """The function of a Slurm job; when its time is up, submitit requeues it and its runs are resumed."""

    def __call__(self, parcel: Parcel) -> JobResult:
        """Train. A time-out signal is passed on to submitit after the runs have been saved."""
        arrived: list[int] = []
        result = train_job(parcel, on_signal=arrived.append)
        for number in arrived:
            if signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler):
                signal.raise_signal(number)
        return result

    def checkpoint(self, parcel: Parcel) -> DelayedSubmission:
        """Return the call to submit again: the same one, since a run finds its own checkpoint."""
        return DelayedSubmission(self, parcel)


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


def _result(job: SlurmJob) -> JobResult | LostJob:
    """Return how a job has ended; one that was killed has left no result."""
    with suppress(OSError):
        list(job.paths.folder.iterdir())  # so that NFS looks again for a file that was not there
    if job.paths.result_pickle.exists():  # else submitit waits for it
        with suppress(UncompletedJobError):
            return job.result()
    lines = (job.stderr() or "").strip().splitlines()
    last = f"{lines[-1]}; " if lines else ""
    return LostJob(f"ended without a result; {last}see {job.paths.stderr}")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
