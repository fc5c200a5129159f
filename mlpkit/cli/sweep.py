"""Runs `mlpkit train -m` and `mlpkit resume SWEEP`, and the sweeps of other commands."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlpkit.cli.arguments import check_folder
from mlpkit.cli.compose import Request
from mlpkit.cli.plan import plan
from mlpkit.cli.search import Options, resume_search, search
from mlpkit.config.logger import loggers_of
from mlpkit.config.problems import plural
from mlpkit.errors import ConfigError, JobsFailedError, MlpkitError
from mlpkit.folders.origin import Origin
from mlpkit.folders.sweep_folder import SweepFolder
from mlpkit.sweeps.launchers import LauncherOptions, choose
from mlpkit.system.paths import expand

if TYPE_CHECKING:
    from rich.console import Console

    from mlpkit.sweeps.datasets import Datasets
    from mlpkit.sweeps.grid import Job
    from mlpkit.sweeps.launch import JobLauncher

SHOWN = 10  # settings on the leaderboard; `mlpkit compare` shows all
PLOTS = "run.plots"  # off in a sweep: plots take longer than small runs; `mlpkit plot RUN` draws them later
QUIET = (f"{PLOTS}=false", "run.loggers=[]")  # for sweeps whose runs nobody looks at one by one


def sweep(
    request: Request,
    origin: Origin,
    paired: bool,
    dry_run: bool,
    most: int | None,
    wanted: LauncherOptions,
    searched: Options,
) -> None:
    """Plan the jobs and train them."""
    from mlpkit.system.console import make_console, note

    if request.file is None:
        request = request.with_defaults(f"{PLOTS}=false")
    if searched.sampler is not None:
        _refuse_others(paired, dry_run, most)
        with choose(wanted) as launcher:
            launcher.check_pruner(searched.pruner)
            search(request, origin, searched, launcher)
        return
    planned = plan(request, paired, most)
    if planned.dropped:
        note(f"left out {plural(planned.dropped, 'run')} equal to another")
    console = make_console()
    limit = wanted.config().runs_per_job
    if dry_run:
        from mlpkit.sweeps.dry_run import print_dry_run

        print_dry_run(planned.jobs, console, None if limit == "auto" else limit)
        return

    loggers_of(planned.jobs[0].config.run.loggers)  # so that not every run refuses them
    with choose(wanted) as launcher:  # before anything else loads torch
        _train(request, planned.jobs, origin, launcher, console)


def _train(
    request: Request, jobs: "Sequence[Job]", origin: Origin, launcher: "JobLauncher", console: "Console"
) -> None:
    from mlpkit.folders import sweep_folder
    from mlpkit.sweeps.run import resume, start

    check_folder(request, jobs[0].config)
    place = jobs[0].config.run
    path = expand(str(place.dir))
    if place.resume == "auto" and sweep_folder.is_sweep(path):
        with shown(path, origin):
            resume(path, origin, launcher, console, jobs)
        return
    folder = sweep_folder.create([job.config for job in jobs])
    open_workers = partial(launcher.open, folder.path, len(jobs))
    with sweep_folder.removed_if_unused(folder, jobs[0].config), shown(folder.path, origin):
        start(folder, jobs, origin, launcher, console, open_workers=open_workers)


def train_jobs(
    jobs: "Sequence[Job]", origin: Origin, console: "Console", datasets: "Datasets | None" = None
) -> tuple[SweepFolder, JobsFailedError | None]:
    """Train jobs together in a new sweep; no leaderboard is shown.

    Args:
        jobs: the jobs, each config once.
        origin: the command line.
        console: where progress is shown.
        datasets: datasets that have been loaded already.

    Returns:
        The sweep, and the error of the jobs that failed; None if all are done.
    """
    from mlpkit.folders import sweep_folder
    from mlpkit.folders.looks import looks_recorded
    from mlpkit.sweeps.run import start
    from mlpkit.sweeps.vectorized import vectorized
    from mlpkit.system.console import note

    folder = sweep_folder.create([job.config for job in jobs])
    try:
        with looks_recorded(folder.path, origin.command, note):
            start(folder, jobs, origin, vectorized, console, datasets)
    except JobsFailedError as error:
        return folder, error
    return folder, None


def resume_sweep(path: Path, origin: Origin, wanted: LauncherOptions, trials: int | None = None) -> None:
    """Train the unfinished jobs of a sweep."""
    if origin.overrides:
        raise ConfigError(
            f"{origin.overrides[0]}: a sweep goes on as it began; resume single runs to change them"
        )
    if SweepFolder(path).search.exists():
        with choose(wanted, SweepFolder(path)) as launcher:
            resume_search(path, origin, launcher, trials)
        return
    if trials is not None:
        raise ConfigError(f"--trials={trials}: {path} is a sweep, which has no trials; leave it out")
    with (
        choose(wanted, SweepFolder(path)) as launcher,
        shown(path, origin),
    ):  # before anything else loads torch
        from mlpkit.sweeps.run import resume
        from mlpkit.system.console import make_console

        resume(path, origin, launcher, make_console())


def _refuse_others(paired: bool, dry_run: bool, most: int | None) -> None:
    """Check that no option is given that a search does not have.

    Raises:
        ConfigError: such an option is given.
    """
    options = {
        "--zip": paired,
        "--dry-run": dry_run,
        f"--max-jobs={most}": most is not None,
    }
    if given := next((option for option, is_given in options.items() if is_given), None):
        raise ConfigError(f"{given}: not for a search, whose trials are chosen and trained batch by batch")


@contextmanager
def shown(path: Path, origin: Origin) -> Iterator[None]:
    """Print the leaderboard and the sweep's folder after the block, also if some jobs failed."""
    from mlpkit.folders.looks import looks_recorded
    from mlpkit.system.console import note

    try:
        with looks_recorded(path, origin.command, note):
            yield
    except JobsFailedError:
        _show(path, failed=True)
        raise
    _show(path)


def _show(path: Path, failed: bool = False) -> None:
    from mlpkit.analysis.compare import compare_alike
    from mlpkit.analysis.leaderboard import print_leaderboard
    from mlpkit.folders.indexed_results import results_below
    from mlpkit.system.console import make_console, note, say

    console = make_console()
    try:
        compared = compare_alike(results_below([path], note))
    except MlpkitError as error:  # no scores: not an error of the sweep
        if not failed:  # else the errors of the jobs say why
            note(str(error))
        say(console, f"sweep folder: {path}")
        return
    for found in compared:
        console.print()
        print_leaderboard(console, found, found.settings[:SHOWN], found.unit)
    say(console, f"sweep folder: {path}")
