"""Arguments shared by several commands."""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.cli.variables import fill
from mlpkit.system.paths import expand

if TYPE_CHECKING:
    from torch import Tensor

    from mlpkit.analysis.compare import Comparison
    from mlpkit.cli.compose import Request
    from mlpkit.config.config import Config
    from mlpkit.runs.checkpoint import Checkpoint
    from mlpkit.runs.trust import Trust


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
        help="Start from a whole config, such as a run's config.yaml.",
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
    str,
    typer.Option(
        "--launcher",
        metavar="vectorized | processes | slurm",
        help="Sweep: train runs of one shape as one program, or each in its own process or Slurm job.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", min=1, help="Sweep: runs at a time; of processes, the number of cores."
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
        "--pixels", metavar="N", min=1, help="The largest possible pixel of a table or an array, such as 255."
    ),
]
Invert = Annotated[
    bool, typer.Option("--invert", help="Pictures are dark on light; the data sets are light on dark.")
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N.")]


def command_line() -> str:
    """Return the command line, quoted so that it can be pasted into a shell."""
    return shlex.join(["mlpkit", *sys.argv[1:]])


def check_folder(request: "Request", config: "Config") -> None:
    """Check run.dir of a --config file, which may be foreign: it must be inside run.root unless it was typed.

    Raises:
        ConfigError: run.dir is outside run.root.
    """
    from mlpkit.runs.new_run import resolve_run_dir
    from mlpkit.runs.trust import Trust

    if config.run.dir is not None and request.file is not None and not request.sets("run.dir"):
        resolve_run_dir(config, Trust.FOREIGN)


def split_arguments(run: str | None, overrides: list[str] | None) -> tuple[str | None, list[str]]:
    """Return RUN and the overrides. If RUN was left out, typer has put the first override in its place."""
    given = list(overrides or ())
    if run is not None and "=" in run and not run.startswith("~/") and not Path(run).exists():
        return None, [fill(run), *given]
    return run, given


def open_run(
    run: str | None, which: str, trust: "Trust", parts: tuple[str, ...] = ("model",)
) -> "tuple[Path, Checkpoint]":
    """Load the checkpoint that RUN and --checkpoint refer to; return its path and the checkpoint.

    A note on stderr names the run if RUN is not a single run, and the checkpoint used if another is damaged.

    Args:
        run: RUN.
        which: best or last.
        trust: whether the checkpoint is the user's own or foreign.
        parts: the kinds of tensors to load.
    """
    from mlpkit.runs.checkpoint import load_first
    from mlpkit.runs.find_run import find_checkpoints
    from mlpkit.system.console import note

    check_which(which)
    chosen, reason = choose_run(run)
    path, stored = load_first(find_checkpoints(chosen, which), note, parts, trust)
    if reason:
        note(f"{reason}: {path.parent.parent} ({path.stem} checkpoint)")
    return path, stored


def open_runs(run: str | None, which: str, trust: "Trust") -> "list[tuple[Path, Checkpoint]]":
    """Load the checkpoints of all runs of a sweep's best setting; as `open_run`.

    Raises:
        ConfigError: RUN is not a sweep.
    """
    from mlpkit.config.problems import plural
    from mlpkit.errors import ConfigError
    from mlpkit.runs.checkpoint import load_first
    from mlpkit.runs.find_run import find_checkpoints
    from mlpkit.runs.sweep_folder import is_sweep
    from mlpkit.system.console import note

    check_which(which)
    sweep, _ = newest_of(run)
    if not is_sweep(sweep):
        raise ConfigError(f"--ensemble: {sweep} is not a sweep; name that of mlpkit train -m 'seed=range(5)'")
    best = _compare(sweep).settings[0]
    note(f"ensemble of {plural(len(best.runs), 'run')}: {sweep}")
    return [load_first(find_checkpoints(of.path, which), note, trust=trust) for of in best.runs.values()]


def check_which(which: str) -> None:
    """Check the value of --checkpoint.

    Raises:
        ConfigError: it is neither best nor last.
    """
    from mlpkit.errors import ConfigError

    if which not in ("best", "last"):
        raise ConfigError(f"--checkpoint={which}: must be best or last")


def choose_run(run: str | None) -> tuple[Path, str]:
    """Return the run folder or checkpoint that RUN refers to, and the reason if it was chosen, else "".

    Raises:
        DataError: RUN is left out and there is no run, or RUN is a sweep in which no run has a score.
    """
    from mlpkit.errors import DataError
    from mlpkit.runs.find_run import newest_run
    from mlpkit.runs.sweep_folder import is_sweep

    path, newest = newest_of(run)
    if not is_sweep(path):
        return path, newest
    try:
        return best_of_sweep(path), "best run of the newest sweep" if newest else "best run"
    except DataError:
        if not newest or (found := newest_run(path)) is None:
            raise
        return found, "newest run"


def newest_of(run: str | None, begun: bool = False) -> tuple[Path, str]:
    """Return the path that RUN refers to: a run, a checkpoint or a sweep; with "newest run" if it was chosen.

    Without RUN, and for a folder of runs, it is the newest run, or the sweep of that run.

    Args:
        run: the argument.
        begun: whether the newest run may be without a checkpoint.

    Raises:
        DataError: RUN is left out and there is no run.
    """
    from mlpkit.errors import DataError
    from mlpkit.runs.find_run import newest_begun, newest_run
    from mlpkit.runs.run_folder import RunFolder
    from mlpkit.runs.sweep_folder import SweepFolder, is_sweep

    path = Path("outputs") if run is None else expand(run)
    own = (RunFolder(path).config, RunFolder(path).last.parent, SweepFolder(path).ledger)
    if run is not None and (not path.is_dir() or any(map(os.path.lexists, own))):
        return path, ""  # a run or sweep, perhaps damaged
    found = newest_begun(path) if begun else newest_run(path)
    if found is not None:
        return (found.parent if is_sweep(found.parent) else found), "newest run"
    if run is None:
        raise DataError("no trained run under outputs/; start one with `mlpkit train`, or name a run folder")
    return path, ""


def best_of_sweep(sweep: Path) -> Path:
    """Return the best run of a sweep's best setting, the same as `mlpkit compare` reports."""
    return _compare(sweep).best_run.path


def _compare(sweep: Path) -> "Comparison":
    """Return the comparison of a sweep's runs, as `mlpkit compare` makes it.

    Raises:
        ConfigError: they are of several datasets or tasks, which have no best run in common.
    """
    from mlpkit.analysis.compare import compare_alike
    from mlpkit.errors import ConfigError
    from mlpkit.runs.results import find_runs, read_results
    from mlpkit.system.console import note

    found = compare_alike(read_results(find_runs([sweep], note), note))
    if len(found) > 1:
        names = "; ".join(of.title for of in found)
        raise ConfigError(f"{sweep}: holds runs that have no best one in common ({names}); name one of them")
    return found[0]


def warn_of_nan(tensors: "dict[str, Tensor]", path: Path) -> bool:
    """Warn if a checkpoint's weights hold NaN or infinity; return whether they do."""
    from mlpkit.runs.checkpoint import not_finite
    from mlpkit.system.console import note

    bad = next(not_finite(tensors), None)
    if bad:
        note(f"warning: {path}: {bad} holds values that are not finite; the predictions mean nothing")
    return bad is not None


def run_folder_of(checkpoint: Path) -> Path:
    """Return the run folder of a checkpoint.

    Raises:
        DataError: the checkpoint is not in a run folder.
    """
    from mlpkit.errors import DataError

    folder = checkpoint.parent.parent
    if checkpoint.parent.name != "checkpoints" or not (folder / "config.yaml").is_file():
        raise DataError(f"{checkpoint}: not in a run folder, which this command needs")
    return folder
