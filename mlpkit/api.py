"""The Python API: the commands as functions. Nothing is printed, and no global setting stays changed.

`import mlpkit` offers everything here. Errors are exceptions with the commands' one-line texts; see
`mlpkit.errors`.
"""

import shlex
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from mlpkit.analysis.run_table import run_rows
from mlpkit.cli.compose import Request, read_config
from mlpkit.cli.plan import plan
from mlpkit.cli.shorthand import expand
from mlpkit.config import plugins as loaded_plugins
from mlpkit.deploy.load import load
from mlpkit.deploy.model import Model
from mlpkit.deploy.run import Leaderboard, Run, Sweep
from mlpkit.deploy.table import Table
from mlpkit.errors import MlpkitError, RunInterruptedError
from mlpkit.folders import sweep_folder
from mlpkit.folders.indexed_results import results_below
from mlpkit.folders.looks import looks_recorded, record_training
from mlpkit.folders.origin import Origin
from mlpkit.folders.trust import Trust
from mlpkit.sweeps.run import start
from mlpkit.sweeps.vectorized import vectorized
from mlpkit.system.console import make_console, note, notes_collected
from mlpkit.system.torch_settings import torch_settings_kept
from mlpkit.training.start import run

__all__ = ["Leaderboard", "MlpkitError", "Model", "Run", "Sweep", "Table", "load", "runs", "sweep", "train"]


def train(*overrides: str, plugins: Sequence[str] = (), progress: bool = False) -> Run:
    """Train a model and write its run folder, as `mlpkit train` does.

    Args:
        overrides: the command's words, such as "dataset=moons", "optimizer.lr=0.01" or "data=houses.csv".
        plugins: files or modules that register choices; see --plugin.
        progress: show on stdout, or in a notebook, what the command shows.

    Raises:
        MlpkitError: a setting is wrong, the data cannot be used, or the training failed.
        KeyboardInterrupt: the training was interrupted; the run is saved, and `mlpkit resume` goes on.
    """
    request, origin = _request("train", overrides, plugins)
    with _quiet() as notes:
        folder = run(read_config(request), origin, _console(progress), note)
        record_training(folder.path, origin.command, note)
        return Run(folder.path, notes)


def sweep(
    *overrides: str, paired: bool = False, plugins: Sequence[str] = (), progress: bool = False
) -> Sweep:
    """Train a model for each combination of values, as `mlpkit train -m` does; equal shapes train as one.

    Args:
        overrides: the command's words; a key may have several values, such as "seed=range(8)".
        paired: pair the values instead of crossing them.
        plugins: files or modules that register choices; see --plugin.
        progress: show on stdout, or in a notebook, what the command shows.

    Raises:
        MlpkitError: a setting is wrong, the data cannot be used, or some runs failed; the others are done.
        KeyboardInterrupt: the sweep was interrupted; it is saved, and `mlpkit resume` goes on.
    """
    request, origin = _request("train -m", overrides, plugins)
    if not request.sets("run.plots"):
        request = replace(request, overrides=(*request.overrides, "run.plots=false"))
    with _quiet() as notes:
        jobs = plan(request, paired).jobs
        folder = sweep_folder.create([job.config for job in jobs])
        with looks_recorded(folder.path, origin.command, note):
            start(folder, jobs, origin, vectorized, _console(progress))
        return Sweep(folder.path, notes)


def runs(root: str | Path = "outputs") -> Table:
    """Return a table of all runs below a folder: path, status, settings that differ, scores.

    Raises:
        DataError: there is no run.
    """
    with notes_collected() as notes:
        return Table(run_rows(results_below([Path(root)], notes.append)))


def _request(command: str, overrides: Sequence[str], plugins: Sequence[str]) -> tuple[Request, Origin]:
    loaded_plugins.load_installed()
    loaded_plugins.load(plugins)
    request = Request(expand(overrides))
    typed = [f"--plugin={name}" for name in plugins]
    words = shlex.join(["mlpkit", *command.split(), *typed, *overrides])
    return request, Origin(words, Trust.OWN, request.overrides)


def _console(progress: bool) -> Console:
    return make_console() if progress else Console(quiet=True)


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Collect notes, keep torch's settings, and let a stop signal do what it does elsewhere in Python."""
    try:
        with notes_collected() as notes, torch_settings_kept():
            yield notes
    except RunInterruptedError as error:
        if error.signal_number == signal.SIGINT:
            raise KeyboardInterrupt(str(error)) from None
        signal.raise_signal(error.signal_number)  # its handler is the caller's again
        raise
