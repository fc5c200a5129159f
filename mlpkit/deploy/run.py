"""Runs, sweeps and comparisons as Python objects: views of their folders."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlpkit.analysis.compare import Comparison, compare_alike
from mlpkit.analysis.leaderboard import headline, legend
from mlpkit.analysis.leaderboard_file import setting_row
from mlpkit.analysis.named_run import best_of_sweep
from mlpkit.config.problems import plural
from mlpkit.deploy.load import load
from mlpkit.deploy.model import Model
from mlpkit.deploy.table import Table
from mlpkit.folders.found_runs import find_runs
from mlpkit.folders.indexed_results import results_below
from mlpkit.folders.metrics_file import read_metrics
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import has_summary, read_plain_config, read_summary
from mlpkit.system.console import notes_collected

SPLITS = ("train", "val", "test")


class _Folder:
    """A folder of a training.

    Attributes:
        path: the folder.
        messages: notes and warnings of the training.
    """

    def __init__(self, path: str | Path, messages: Sequence[str] = ()) -> None:
        """Take the folder."""
        self.path, self.messages = Path(path), tuple(messages)


class Run(_Folder):
    """A run: its `path`, and what its folder holds; `messages` are notes and warnings of the training."""

    @property
    def config(self) -> dict[str, Any]:
        """The run's config, nested as in config.yaml."""
        return dict(read_plain_config(RunFolder(self.path).config_file))

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json: status, epochs, scores of the last and the best epoch.

        Raises:
            DataError: the run has not ended yet.
        """
        return read_summary(RunFolder(self.path))

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """The scores of the best epoch, by split and name."""
        best = self.summary.get("best") or {}
        return {split: best[split] for split in SPLITS if split in best}

    @property
    def history(self) -> Table:
        """The scores of all epochs: a row for each epoch and split."""
        return Table(read_metrics(RunFolder(self.path).metrics))

    @property
    def pictures(self) -> list[Path]:
        """The run's pictures, which `mlpkit plot` draws again."""
        return sorted(RunFolder(self.path).plots.glob("*.png"))

    def model(self, checkpoint: str = "best") -> Model:
        """Return the trained model; see `mlpkit.load`."""
        return load(self.path, checkpoint)

    def __repr__(self) -> str:
        """Return the folder and the scores of the best epoch on its last split."""
        scores = self.scores if has_summary(RunFolder(self.path)) else {}
        said = [f"{split} {_joined(scores[split])}" for split in list(scores)[-1:]]
        return f"<Run: {'; '.join([str(self.path), *said])}>"

    def _repr_html_(self) -> str:
        rows = [{"split": split, **values} for split, values in self.scores.items()]
        pictures = "".join(
            f'<img alt="{html.escape(path.stem)}" style="max-width:24em" src="data:image/png;base64,'
            f'{base64.b64encode(path.read_bytes()).decode()}">'
            for path in self.pictures
        )
        path = html.escape(str(self.path))
        return f"<p><code>{path}</code></p>{Table(rows)._repr_html_()}<p>{pictures}</p>"


class Sweep(_Folder):
    """A sweep: its `path`, its runs and their comparison; `messages` are those of the training."""

    @property
    def runs(self) -> list[Run]:
        """All runs, in the order of their folders' names."""
        with notes_collected() as notes:
            return [Run(path) for path in find_runs([self.path], notes.append)]

    @property
    def best(self) -> Run:
        """The best run of the best setting, which `mlpkit predict SWEEP` takes."""
        with notes_collected():
            return Run(best_of_sweep(self.path))

    def model(self, checkpoint: str = "best", ensemble: bool = False) -> Model:
        """Return the model of the best run, or the mean of all runs of its setting; see `mlpkit.load`."""
        return load(self.path, checkpoint, ensemble)

    def compare(self, *by: str, metric: str | None = None) -> "Leaderboard":
        """Rank the settings by their mean score; see `mlpkit compare`.

        Args:
            by: the keys of a setting, such as `optimizer.lr`; none: all that differ but the seed.
            metric: the score, such as `test.accuracy`; None: the monitored score.
        """
        with notes_collected() as notes:
            results = results_below([self.path], notes.append)
            compared = compare_alike(results, by, metric)
            return Leaderboard(compared, "runs" if by else compared[0].unit)

    def __repr__(self) -> str:
        """Return the folder and the number of runs."""
        return f"<Sweep: {self.path}; {plural(len(self.runs), 'run')}>"

    def _repr_html_(self) -> str:
        return f"<p><code>{html.escape(str(self.path))}</code></p>{self.compare()._repr_html_()}"


class Leaderboard(Table):
    """Ranked settings, best first: a row for each, with mean score, interval and difference to the best."""

    def __init__(self, compared: Sequence[Comparison], unit: str) -> None:
        """Take comparisons of alike runs; `unit` is what the runs of a setting are called."""
        super().__init__([setting_row(setting, of) for of in compared for setting in of.settings])
        self._compared, self._unit = compared, unit

    def _repr_html_(self) -> str:
        parts = []
        for of in self._compared:
            lines = [headline(of), *legend(of, of.settings, self._unit)]
            rows = [setting_row(setting, of) for setting in of.settings]
            parts += [f"<p>{html.escape(line)}</p>" for line in lines] + [Table(rows)._repr_html_()]
        return "".join(parts)


def _joined(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items() if value is not None)
