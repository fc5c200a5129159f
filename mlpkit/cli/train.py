"""mlpkit train."""

from typing import Annotated

import typer

from mlpkit.cli.arguments import (
    Address,
    ConfigDir,
    ConfigFile,
    LauncherName,
    Overrides,
    Package,
    Plugins,
    RunsPerJob,
    SlurmSettings,
    Workers,
    check_folder,
    command_line,
)
from mlpkit.errors import ConfigError
from mlpkit.system import launched

EXAMPLE = "mlpkit train dataset=moons model=mlp optimizer.lr=0.01"


def train(
    overrides: Overrides = None,
    config_file: ConfigFile = None,
    config_dir: ConfigDir = None,
    multirun: Annotated[
        bool,
        typer.Option(
            "-m", "--multirun", help="Sweep: a key may have several values, as in optimizer.lr=0.1,0.01."
        ),
    ] = False,
    paired: Annotated[
        bool, typer.Option("--zip", help="Sweep: pair the values instead of crossing them.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Sweep: show the runs, train none.")] = False,
    most: Annotated[
        int | None, typer.Option("--max-jobs", metavar="N", min=1, help="Sweep: at most N runs.")
    ] = None,
    launcher: LauncherName = None,
    workers: Workers = None,
    runs_per_job: RunsPerJob = None,
    address: Address = None,
    slurm: SlurmSettings = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            "--search", metavar="tpe | random | cmaes", help="Search with -m, by one of Optuna's samplers."
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", min=1, help="Search: number of runs.")
    ] = None,
    pruner: Annotated[
        str | None,
        typer.Option(
            "--pruner",
            metavar="none | median | hyperband | halving",
            help="Search: end poor runs before their last epoch.",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", metavar="N", min=1, help="Search: runs trained at a time; default 16."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds", metavar="N", min=1, help="Search: runs of each trial, which is scored by their mean."
        ),
    ] = None,
    cfg: Annotated[
        str | None, typer.Option("--cfg", "-c", metavar="job", help="Print the config and stop.")
    ] = None,
    package: Package = None,
    resolve: Annotated[
        bool, typer.Option("--resolve", help="With --cfg: fill in ${other.key}, which is always done.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Train one model and write its run folder; with -m, one for each combination of values."""
    from mlpkit.cli.compose import Request, read_config
    from mlpkit.cli.search import Options
    from mlpkit.cli.shorthand import expand
    from mlpkit.folders.origin import Origin
    from mlpkit.folders.trust import Trust
    from mlpkit.sweeps.launchers import LauncherOptions

    if launched.rank():
        from mlpkit.training.follow import follow

        raise typer.Exit(follow())
    request = Request(expand(overrides or ()), tuple(config_dir or ()), config_file)
    origin = Origin(command_line(), Trust.OWN, request.overrides)
    searched = Options(sampler, trials, pruner, batch, seeds)
    searched.check(multirun)
    wanted = LauncherOptions(launcher, workers, runs_per_job, address, tuple(slurm or ()))
    if cfg not in (None, "job"):
        raise ConfigError(f"--cfg={cfg}: must be job, the config of the run; mlpkit has no hydra section")
    if cfg is None and (name := "--package" if package else "--resolve" if resolve else None):
        raise ConfigError(f"{name}: only where the config is printed; add --cfg job")
    if multirun:
        from mlpkit.cli.sweep import sweep

        if launched.size() > 1:
            raise ConfigError("-m: torchrun has started several processes for one run; sweep without it")
        if cfg is not None:
            raise ConfigError(f"--cfg={cfg}: a sweep has many configs; see --dry-run, or leave out -m")
        sweep(request, origin, paired, dry_run, most, wanted, searched)
        return
    given = {"--zip": paired, "--dry-run": dry_run, f"--max-jobs={most}": most, **wanted.options()}
    if name := next((name for name, value in given.items() if value), None):
        raise ConfigError(f"{name}: only for a sweep; add -m")
    config = read_config(request)
    if cfg is not None:
        from mlpkit.cli.config import print_config

        print_config(config, package)
        return

    check_folder(request, config)

    from mlpkit.folders.looks import record_training
    from mlpkit.system.console import make_console, note
    from mlpkit.training.start import run

    folder = run(config, origin, make_console(), note)
    record_training(folder.path, origin.command, note)
