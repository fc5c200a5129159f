"""A row for each run: path, status, settings and all scores of its best epoch."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from mlpkit.analysis.keys import all_keys
from mlpkit.config.nested import shorten
from mlpkit.config.problems import show
from mlpkit.folders.results import RunResult
from mlpkit.system.console import is_terminal, number, plain_table

FIXED = ("run", "status", "seconds")
SPLITS = ("train", "val", "test")


def run_rows(runs: Sequence[RunResult]) -> list[dict[str, Any]]:
    """Return a row for each run, with those settings that differ between the runs.

    Args:
        runs: any runs.
    """
    keys = all_keys(runs)
    differing = [key for key in keys if len({repr(run.settings.get(key)) for run in runs}) > 1]
    rows = []
    for run in runs:
        scores = run.best.all_scores() if run.best is not None else {}
        settings = {key: run.settings.get(key) for key in differing}
        columns = {f"{split}.{name}": value for (split, name), value in scores.items()}
        rows.append(
            {"run": str(run.path), "status": run.status, "seconds": run.seconds, **settings, **columns}
        )
    return rows


def print_runs(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows of `run_rows`: a table of folders, differing settings and final scores."""
    columns = list(dict.fromkeys(key for row in rows for key in row if key not in FIXED))
    scores = [key for key in columns if key.split(".")[0] in SPLITS]
    if is_terminal(console):  # the scores of training rows are in the files of --output
        scores = [key for key in scores if not key.startswith("train.")]
    settings = [key for key in columns if key.split(".")[0] not in SPLITS]
    table = plain_table("run", [*(shorten(key, settings) for key in settings), *scores])
    table.columns[0].overflow = "fold"
    for row in rows:
        cells = ["" if row.get(key) is None else show(row[key]).strip("'") for key in settings]
        values = ["" if row.get(key) is None else number(row[key]) for key in scores]
        table.add_row(
            row["run"] if row["status"] == "done" else f"{row['run']} ({row['status']})", *cells, *values
        )
    console.print(table)
