"""mlpkit train."""

from typing import Annotated

import typer

from mlpkit.cli.arguments import ConfigDir, ConfigFile, LauncherName, Overrides, SlurmSettings, Workers
from mlpkit.errors import ConfigError

EXAMPLE = "mlpkit train dataset=moons model=mlp optimizer.lr=0.01"


def train(
    overrides: Overrides = None,
    config_file: ConfigFile = None,
    config_dir: ConfigDir = None,
    multirun: Annotated[
        bool,
        typer.Option("-m", "--multirun", help="Sweep: a key may have several values, as in lr=0.1,0.01."),
    ] = False,
    paired: Annotated[
        bool, typer.Option("--zip", help="Sweep: pair the values instead of crossing them.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Sweep: show the runs, train none.")] = False,
    most: Annotated[
        int | None, typer.Option("--max-jobs", metavar="N", min=1, help="Sweep: at most N runs.")
    ] = None,
    launcher: LauncherName = "vectorized",
    workers: Workers = None,
    slurm: SlurmSettings = None,
    sampler: Annotated[
        str | None,
        typer.Option("--search", metavar="NAME", help="Search with -m: tpe, random or cmaes (Optuna's)."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", min=1, help="Search: so many runs.")
    ] = None,
    pruner: Annotated[
        str | None,
        typer.Option(
            "--pruner", metavar="NAME", help="Search: none, or end poor runs by median, hyperband or halving."
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", metavar="N", min=1, help="Search: runs chosen at a time; left out, 16."),
    ] = None,
    cfg: Annotated[
        str | None, typer.Option("--cfg", metavar="job", help="Print the config and stop.")
    ] = None,
) -> None:
    """Train one model and write its run folder; with -m, one for each combination of values."""
    import shlex
    import sys

    from mlpkit.cli.compose import Request, read_config
    from mlpkit.cli.search import Options
    from mlpkit.sweep.launchers import Wanted

    request = Request(tuple(overrides or ()), tuple(config_dir or ()), config_file)
    command = shlex.join(["mlpkit", *sys.argv[1:]])
    searched = Options(sampler, trials, pruner, batch)
    searched.check(multirun)
    wanted = Wanted(launcher, workers, tuple(slurm or ()))
    if multirun:
        from mlpkit.cli.sweep import sweep

        if cfg is not None:
            raise ConfigError(f"--cfg={cfg}: a sweep has many configs; see --dry-run, or leave out -m")
        sweep(request, command, paired, dry_run, most, wanted, searched)
        return
    given = {"--zip": paired, "--dry-run": dry_run, f"--max-jobs={most}": most, **wanted.options()}
    if name := next((name for name, value in given.items() if value), None):
        raise ConfigError(f"{name}: only for a sweep; add -m")
    config = read_config(request)
    if cfg not in (None, "job"):
        raise ConfigError(f"--cfg={cfg}: must be job, the config of the run")
    if cfg is not None:
        from mlpkit.cli.config import print_config

        print_config(config)
        return

    from mlpkit.system.console import make_console, note
    from mlpkit.training.start import run

    run(config, command, make_console(), note)
