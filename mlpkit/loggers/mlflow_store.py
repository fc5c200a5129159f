"""An MLflow store, and what the logger and `mlpkit send` write there of a run."""

import hashlib
import importlib.util
import json
import logging
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpkit.errors import ConfigError, MlpkitError, TrackerError, reason_of

if TYPE_CHECKING:
    from mlflow.entities import Run

    from mlpkit.folders.labels import Labels
    from mlpkit.folders.tracked_run import Point, TrackedRun

_STATUSES = {"running": "RUNNING", "failed": "FAILED", "interrupted": "KILLED", "unfinished": "KILLED"}
_ID, _STATUS, _TAGS, _FILES = "mlpkit.id", "mlpkit.status", "mlpkit.tags", "mlpkit.files"
_NOTE = "mlflow.note.content"  # MLflow shows it as the description of a run or an experiment
_SENT_NOTE = "mlpkit.note"  # the note that was sent last: one that was edited in MLflow stays
_MOST_METRICS, _MOST_OTHERS, _LONGEST = 1000, 100, 6000  # MLflow's limits; the last one in characters
_OTHER_CHARACTERS = re.compile(r"[^\w. -]")  # those that a key of MLflow must not have
# Unless the user has set them: by default a server that is down is tried for four minutes.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class MLflowStore:
    """A tracking server, or the database or folder that stands in for one.

    Attributes:
        uri: where it is, without a password.
    """

    def __init__(self, uri: str | None) -> None:
        """Connect.

        Args:
            uri: None for MLflow's own choice: MLFLOW_TRACKING_URI, else ./mlflow.db.

        Raises:
            TrackerError: that fails.
        """
        self.uri = uri or "mlflow"
        with self.reaching(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, value in _ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            from mlflow import MlflowClient

            logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of each new try
            self.client = MlflowClient(tracking_uri=uri)
            self.uri = re.sub(r"//[^/@]*@", "//", self.client.tracking_uri)

    def open(self, run: "TrackedRun") -> "MLflowRun":
        """Find or create the MLflow run of a run, and write the run's content.

        Raises:
            TrackerError: that fails.
        """
        with self.reaching():
            found = self._find(run.id)
            is_new = found is None
            opened = MLflowRun(self, found or self._create(run), is_new)
        opened.update(run)
        return opened

    def label(self, group: str, labels: "Labels") -> bool:
        """Write the tags and the note of a sweep, which is an experiment; return whether they have changed.

        Raises:
            TrackerError: that fails.
        """
        with self.reaching():
            experiment = self.client.get_experiment_by_name(group)
            changed = {} if experiment is None else _changed_labels(labels, experiment.tags)
            for name, value in changed.items():
                self.client.set_experiment_tag(experiment.experiment_id, name, value)
        return bool(changed)

    def _find(self, run_id: str) -> "Run | None":
        """Return the MLflow run with an id, in whichever experiment; one in the trash does not count."""
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        wanted = f"tags.`{_ID}` = '{run_id}'"
        found = self.client.search_runs(experiments, wanted, max_results=1)
        return found[0] if found else None

    def _create(self, run: "TrackedRun") -> "Run":
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(run.group)
        if experiment is None:
            try:
                number = self.client.create_experiment(run.group)
            except MlflowException:  # another process has just made it, or it is in the trash
                experiment = self.client.get_experiment_by_name(run.group)
                if experiment is None:
                    raise
        if experiment is not None:
            number = experiment.experiment_id
            if experiment.lifecycle_stage != "active":
                self.client.restore_experiment(number)
        started = round(run.started * 1000)
        tags = {_ID: run.id, "mlpkit.folder": str(run.folder), "mlflow.source.name": "mlpkit"}
        with suppress(OSError, KeyError):  # a user without a name
            tags["mlflow.user"] = getuser()
        return self.client.create_run(number, started, tags, run.name)

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Turn an error of MLflow's into one line, and keep its warnings to itself.

        Raises:
            TrackerError: there was one.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except MlpkitError:
            raise
        except Exception as error:
            raise TrackerError(f"MLflow at {self.uri}: {_reason(error)}") from error


class MLflowRun:
    """An MLflow run.

    Attributes:
        change: new, changed or unchanged.
    """

    def __init__(self, store: MLflowStore, run: "Run", is_new: bool) -> None:
        """Take a run of the store, and read the points that it has."""
        self._store, self._client = store, store.client
        self._id, self._began = run.info.run_id, run.info.start_time
        self.change = "new" if is_new else "unchanged"
        self._known = {
            _key(name, metric.step, metric.value)
            for name in run.data.metrics
            for metric in self._client.get_metric_history(self._id, name)
        }

    def update(self, run: "TrackedRun") -> None:
        """Write all that differs from the run's content.

        Raises:
            TrackerError: that fails.
        """
        self.log(run.points)
        with self._store.reaching():
            stored = self._client.get_run(self._id)
            self._settings_and_tags(run, stored)
            self._files(run, stored)
            self._status(run, stored)

    def log(self, points: "Sequence[Point]") -> None:
        """Write the points that are not there yet.

        Raises:
            TrackerError: that fails.
        """
        from mlflow.entities import Metric

        with self._store.reaching():
            new = [p for p in points if _key(p.name, p.step, p.value) not in self._known]
            if not new:
                return
            metrics = [Metric(p.name, p.value, self._began + round(p.seconds * 1000), p.step) for p in new]
            for first in range(0, len(metrics), _MOST_METRICS):
                self._client.log_batch(self._id, metrics[first : first + _MOST_METRICS])
            self._known |= {_key(p.name, p.step, p.value) for p in new}
            self._changed()

    def _settings_and_tags(self, run: "TrackedRun", stored: "Run") -> None:
        """Write settings as parameters. MLflow never changes one: what a resumed run changes is a tag."""
        from mlflow.entities import Param, RunTag

        data = stored.data
        settings = {_OTHER_CHARACTERS.sub("_", key): value[:_LONGEST] for key, value in run.settings.items()}
        params = [Param(key, value) for key, value in settings.items() if key not in data.params]
        tags = {key: value for key, value in settings.items() if data.params.get(key, value) != value}
        tags[_STATUS] = run.status
        tags |= _changed_labels(run.labels, data.tags)
        changed = [RunTag(key, value) for key, value in tags.items() if data.tags.get(key) != value]
        for first in range(0, max(len(params), len(changed)), _MOST_OTHERS):
            part = slice(first, first + _MOST_OTHERS)
            self._client.log_batch(self._id, params=params[part], tags=changed[part])
            self._changed()

    def _files(self, run: "TrackedRun", stored: "Run") -> None:
        """Upload the files whose hashes are not those in a tag."""
        try:
            known: Any = json.loads(stored.data.tags.get(_FILES, "{}"))
        except ValueError:
            known = {}
        hashes = {name: _hash(path) for name, path in run.files.items()}
        new = [name for name in hashes if known.get(name) != hashes[name]]
        for name in new:
            self._client.log_artifact(self._id, str(run.files[name]), name.rpartition("/")[0] or None)
        if new:
            self._client.set_tag(self._id, _FILES, json.dumps(hashes))
            self._changed()

    def _status(self, run: "TrackedRun", stored: "Run") -> None:
        status = _STATUSES.get(run.status, "FINISHED")
        if stored.info.status == status:
            return
        if status == "RUNNING":
            self._client.update_run(self._id, status)
        else:
            ended = run.ended or time.time()
            self._client.set_terminated(self._id, status, round(ended * 1000))
        self._changed()

    def _changed(self) -> None:
        if self.change == "unchanged":
            self.change = "changed"


def check_installed(what: str) -> None:
    """Check that MLflow is installed, without importing it, which takes seconds.

    Args:
        what: what needs it, for the error.

    Raises:
        ConfigError: it is not.
    """
    if any(importlib.util.find_spec(name) is None for name in ("mlflow", "sqlalchemy", "alembic")):
        raise ConfigError(f"{what}: needs mlflow; pip install 'mlpkit[mlflow]'")


def _changed_labels(labels: "Labels", before: Mapping[str, str]) -> dict[str, str]:
    """Return what of the user's tags and note differs from what was sent before."""
    tags, changed = " ".join(labels.tags), dict[str, str]()
    if tags != before.get(_TAGS, ""):
        changed[_TAGS] = tags
    if labels.note != before.get(_SENT_NOTE, ""):
        changed |= {_NOTE: labels.note, _SENT_NOTE: labels.note}
    return changed


def _key(name: str, step: int, value: float) -> tuple[str, int, str]:
    """Return what makes two points the same, whatever rounding a database does."""
    return name, step, f"{value:.12g}"


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def _reason(error: Exception) -> str:
    """Return the system's reason where there is one, such as a refused connection, else the first line."""
    cause: BaseException | None = error
    said = reason_of(error)[:300]
    while cause is not None:
        if isinstance(cause, TimeoutError):
            said = "no answer in time"
        elif isinstance(cause, OSError) and cause.strerror:
            said = cause.strerror
        cause = cause.__cause__ or cause.__context__
    return re.sub(r"//[^/@\s]*@", "//", said)
