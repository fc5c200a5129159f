"""mlpkit resume."""

from typing import Annotated

import typer

from mlpkit.analysis.named_run import newest_of
from mlpkit.cli.arguments import (
    Address,
    AllowLarge,
    LauncherName,
    Overrides,
    Plugins,
    Run,
    RunsPerJob,
    SlurmSettings,
    Workers,
    command_line,
    split_arguments,
)
from mlpkit.system import launched

EXAMPLE = "mlpkit resume trainer.epochs=2000"


def resume(
    run: Run = None,
    overrides: Overrides = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse another machine, thread count, engine or torch version.")
    ] = False,
    allow_large: AllowLarge = False,
    launcher: LauncherName = None,
    workers: Workers = None,
    runs_per_job: RunsPerJob = None,
    address: Address = None,
    slurm: SlurmSettings = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", metavar="N", min=1, help="Search: more trials than it was begun with."),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Resume a run exactly where it stopped; with more epochs, train a finished run further."""
    from mlpkit.cli.compose import Request, override
    from mlpkit.errors import ConfigError
    from mlpkit.folders.environment import name_plugins
    from mlpkit.folders.find_run import find_run
    from mlpkit.folders.looks import looks_recorded
    from mlpkit.folders.may_change import MAY_CHANGE, OLD_KEYS
    from mlpkit.folders.origin import Origin
    from mlpkit.folders.run_record import read_plain_config
    from mlpkit.folders.sweep_folder import is_sweep
    from mlpkit.folders.trust import Trust
    from mlpkit.sweeps.launchers import LauncherOptions
    from mlpkit.system.console import make_console, note
    from mlpkit.training.start import resume_run

    if launched.rank():
        from mlpkit.training.follow import follow

        raise typer.Exit(follow())
    run, given = split_arguments(run, overrides)
    origin = Origin(command_line(), Trust.foreign(allow_large), tuple(given))
    wanted = LauncherOptions(launcher, workers, runs_per_job, address, tuple(slurm or ()))
    path, newest = newest_of(run, begun=True)
    if is_sweep(path):
        from mlpkit.cli.sweep import resume_sweep

        if strict:
            raise ConfigError("--strict: for a single run; resume those of the sweep one by one")
        if newest:
            note(f"newest sweep: {path}")
        resume_sweep(path, origin, wanted, trials)
        return
    given_options = {**wanted.options(), f"--trials={trials}": trials is not None}
    if name := next((name for name, value in given_options.items() if value), None):
        raise ConfigError(f"{name}: only for a sweep; name its folder")
    folder = find_run(path)
    if newest:
        note(f"{newest}: {folder.path}")
    start = None if path.is_dir() else path
    try:
        config = override(
            read_plain_config(folder.config_file),
            Request(tuple(given)),
            allowed=lambda key: key in (*MAY_CHANGE, *OLD_KEYS),
            rule=f"a run goes on as it began; only {', '.join(MAY_CHANGE)} may change",
        )
    except ConfigError as error:
        raise ConfigError(*(name_plugins(problem, folder.path) for problem in error.args)) from None
    with looks_recorded(folder.path, origin.command, note):
        resume_run(folder, config, origin, make_console(), note, start, strict)
