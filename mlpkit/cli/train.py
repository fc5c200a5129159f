"""mlpkit train."""

from typing import Annotated

import typer

from mlpkit.cli.arguments import ConfigDir, ConfigFile, Overrides
from mlpkit.errors import ConfigError

EXAMPLE = "mlpkit train dataset=moons model=mlp optimizer.lr=0.01"


def train(
    overrides: Overrides = None,
    config_file: ConfigFile = None,
    config_dir: ConfigDir = None,
    multirun: Annotated[bool, typer.Option("-m", "--multirun", help="Sweep (not there yet).")] = False,
    cfg: Annotated[
        str | None, typer.Option("--cfg", metavar="job", help="Print the config and stop.")
    ] = None,
) -> None:
    """Train one model and write its run folder."""
    import shlex
    import sys

    from mlpkit.cli.compose import Request, compose
    from mlpkit.config import parse

    if multirun:
        raise ConfigError("-m: sweeps are not there yet; they come with a later version of mlpkit")
    request = Request(tuple(overrides or ()), tuple(config_dir or ()), config_file)
    config = parse(compose(request))
    if cfg not in (None, "job"):
        raise ConfigError(f"--cfg={cfg}: must be job, the config of the run")
    if cfg is not None:
        from mlpkit.cli.config import print_config

        print_config(config)
        return

    from mlpkit.console import make_console, note
    from mlpkit.run import run

    run(config, shlex.join(["mlpkit", *sys.argv[1:]]), make_console(), note)
