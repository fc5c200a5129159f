"""mlpkit fork."""

from typing import Annotated

import typer

from mlpkit.analysis.named_run import choose_run, run_folder_of
from mlpkit.cli.arguments import AllowLarge, Overrides, Plugins, Run, command_line, split_arguments

EXAMPLE = "mlpkit fork --at 40 -m optimizer.lr=0.01,0.001"


def fork(
    run: Run = None,
    overrides: Overrides = None,
    at: Annotated[
        int | None,
        typer.Option("--at", metavar="STEP", min=1, help="The step to branch off at; left out, the newest."),
    ] = None,
    multirun: Annotated[
        bool,
        typer.Option("-m", "--multirun", help="Keys have several values: a branch for each combination."),
    ] = False,
    allow_large: AllowLarge = False,
    plugin: Plugins = None,
) -> None:
    """Train branches of a run with other settings, all from its state at one step."""
    from mlpkit.cli.compose import Request, read_config
    from mlpkit.cli.plan import plan
    from mlpkit.cli.sweep import PLOTS, shown
    from mlpkit.errors import ConfigError
    from mlpkit.folders import sweep_folder
    from mlpkit.folders.checkpoint import read_header
    from mlpkit.folders.find_run import find_run
    from mlpkit.folders.origin import Origin
    from mlpkit.folders.trust import Trust
    from mlpkit.sweeps.fork import check_branches, make_branches, state_at
    from mlpkit.sweeps.run import resume
    from mlpkit.sweeps.vectorized import vectorized
    from mlpkit.system.console import make_console, note

    run, given = split_arguments(run, overrides)
    if not any(text.partition("=")[0] not in ("run.dir", "run.root", "run.name") for text in given):
        raise ConfigError("fork: no setting is changed; add one, such as optimizer.lr=0.01")
    trust = Trust.foreign(allow_large)
    chosen, reason = choose_run(run)
    folder = find_run(chosen if chosen.is_dir() else run_folder_of(chosen))
    if at is None and not chosen.is_dir():
        at = read_header(chosen).state.progress.step
    if reason:
        note(f"{reason}: {folder.path}")
    own_folder = [] if any(text.startswith("run.dir=") for text in given) else ["run.dir=null"]
    request = Request((*given, *own_folder), file=folder.config_file, replaceable=("scheduler",))
    request = request.with_defaults(f"{PLOTS}=false")
    if not multirun:
        read_config(request)  # which refuses several values of a key
    jobs = plan(request).jobs
    stored = state_at(folder, at, trust, note)
    check_branches([job.config for job in jobs], stored)
    sweep = sweep_folder.create([job.config for job in jobs])
    make_branches(sweep, jobs, folder, stored)
    origin = Origin(command_line(), trust, tuple(given))
    with shown(sweep.path, origin):
        resume(sweep.path, origin, vectorized, make_console())
