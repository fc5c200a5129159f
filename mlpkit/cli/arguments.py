"""Arguments shared by several commands."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.cli.variables import fill
from mlpkit.errors import ConfigError
from mlpkit.system.paths import expand

if TYPE_CHECKING:
    from mlpkit.cli.compose import Request
    from mlpkit.config.config import Config

PICTURES = (".png", ".pdf", ".svg")  # endings of pictures that can be written


def _import_plugins(given: list[str] | None) -> list[str]:
    """Import the installed plug-ins and those of --plugin, before anything else is read."""
    from mlpkit.config import plugins

    plugins.load_installed()
    plugins.load(given or ())
    return given or []


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="Settings: group=choice (see `mlpkit list`) or key=value.", metavar="KEY=VALUE", parser=fill
    ),
]
Run = Annotated[
    str | None,
    typer.Argument(
        help="Run folder, checkpoint file, sweep (its best run) or folder of runs (the newest); left out, "
        "the newest run.",
        metavar="RUN",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        parser=expand,
        help="Start from a whole config, such as a run's config.yaml, or from that of a checkpoint.",
    ),
]
ConfigDir = Annotated[
    list[Path] | None,
    typer.Option(
        "--config-dir", "-cd", metavar="DIR", parser=expand, help="A folder of configs to search first."
    ),
]
Package = Annotated[
    str | None, typer.Option("--package", "-p", metavar="KEY", help="Print one section, such as optimizer.")
]
Which = Annotated[
    str, typer.Option("--checkpoint", metavar="best | last", help="Which of the run's checkpoints.")
]
AllowLarge = Annotated[
    bool, typer.Option("--allow-large", help="Open models and data of any size that can be trained.")
]
LauncherName = Annotated[
    str | None,
    typer.Option(
        "--launcher",
        metavar="vectorized | processes | dask | ray | slurm",
        help="Sweep: train groups of runs one after another in this process, or each as a job elsewhere.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        help="Sweep: jobs at a time; default of processes: the number of cores.",
    ),
]
RunsPerJob = Annotated[
    str | None,
    typer.Option(
        "--runs-per-job",
        metavar="auto | N",
        help="Sweep: train at most N runs together; auto: so many that each worker has a job.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="Sweep: scheduler of dask (tcp://10.0.0.1:8786) or ray (10.0.0.1:6379); default: a local one.",
    ),
]
SlurmSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm",
        metavar="KEY=VALUE",
        help="Sweep: a setting of the Slurm jobs, such as partition=gpu, timeout_min=60 or mem_gb=4; "
        "cluster=local tries them on this machine.",
    ),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE|MODULE",
        callback=_import_plugins,
        is_eager=True,
        help="Import a file.py or an installed module that registers choices; may be given several times.",
    ),
]
Header = Annotated[
    bool | None, typer.Option("--header/--no-header", help="Whether the first line of a csv holds names.")
]
Pixels = Annotated[
    int | None,
    typer.Option(
        "--pixels",
        metavar="N",
        min=1,
        help="The largest possible pixel value of a table or an array, such as 255.",
    ),
]
Invert = Annotated[
    bool, typer.Option("--invert", help="The pictures are dark on light; the datasets are light on dark.")
]
Coverage = Annotated[
    float | None,
    typer.Option(
        "--coverage",
        metavar="P",
        help="Add sets of classes, or intervals, that hold the truth with this probability, such as 0.9.",
    ),
]
Novelty = Annotated[
    bool,
    typer.Option(
        "--novelty",
        help="Add how unlike the training rows each row is, from 0 to 1; from 0.99 on it is flagged.",
    ),
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N.")]


def command_line() -> str:
    """Return the command line, quoted so that it can be pasted into a shell."""
    return shlex.join(["mlpkit", *sys.argv[1:]])


def check_coverage(coverage: float | None) -> None:
    """Check the value of --coverage.

    Raises:
        ConfigError: it is not between 0 and 1.
    """
    if coverage is not None and not 0 < coverage < 1:
        raise ConfigError(f"--coverage={coverage:g}: must be between 0 and 1, such as 0.9")


def check_folder(request: "Request", config: "Config") -> None:
    """Check run.dir of a --config file, which may be foreign: it must be inside run.root unless it was typed.

    Raises:
        ConfigError: run.dir is outside run.root.
    """
    from mlpkit.folders.new_run import resolve_run_dir
    from mlpkit.folders.trust import Trust

    if config.run.dir is not None and request.file is not None and not request.sets("run.dir"):
        resolve_run_dir(config, Trust.FOREIGN)


def split_arguments(run: str | None, overrides: list[str] | None) -> tuple[str | None, list[str]]:
    """Return RUN and the overrides. If RUN was left out, typer has put the first override in its place."""
    given = list(overrides or ())
    if run is not None and "=" in run and not run.startswith("~/") and not Path(run).exists():
        return None, [fill(run), *given]
    return run, given
