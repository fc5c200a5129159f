"""Arguments that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mlpkit.checkpoint import Checkpoint

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings: group=choice (see `mlpkit list`) or key=value.", metavar="KEY=VALUE"),
]
Run = Annotated[
    str | None,
    typer.Argument(help="Run folder or checkpoint file; left out, the newest run.", metavar="RUN"),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Start from a whole config, such as a run's config.yaml."),
]
ConfigDir = Annotated[
    list[Path] | None,
    typer.Option("--config-dir", metavar="DIR", help="A folder of configs to search first."),
]
Which = Annotated[
    str, typer.Option("--checkpoint", metavar="best|last", help="Which of the run's checkpoints.")
]
AllowLarge = Annotated[
    bool, typer.Option("--allow-large", help="Open models and data of any size that can be trained.")
]
LauncherName = Annotated[
    str,
    typer.Option(
        "--launcher",
        metavar="vectorized|processes|slurm",
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
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N.")]


def told_apart(run: str | None, overrides: list[str] | None) -> tuple[str | None, list[str]]:
    """Return RUN and the overrides; the first override stands in RUN's place where RUN was left out."""
    given = list(overrides or ())
    if run is not None and "=" in run and not Path(run).exists():
        return None, [run, *given]
    return run, given


def open_run(
    run: str | None, which: str, allow_large: bool = False, parts: tuple[str, ...] = ("model",)
) -> "tuple[Path, Checkpoint]":
    """Return the checkpoint that RUN and --checkpoint mean, with some parts of its tensors, and its path.

    It says which run where none was named, and which checkpoint serves where the wanted one is damaged.
    """
    from mlpkit.checkpoint import load_first
    from mlpkit.console import note
    from mlpkit.errors import ConfigError
    from mlpkit.run_folder import find_checkpoints

    if which not in ("best", "last"):
        raise ConfigError(f"--checkpoint={which}: must be best or last")
    path, stored = load_first(find_checkpoints(run, which), note, parts, allow_large)
    if run is None:
        note(f"newest run: {path.parent.parent} ({path.stem})")
    return path, stored


def run_folder_of(checkpoint: Path) -> Path:
    """Return the run folder in which a checkpoint lies.

    Raises:
        DataError: it lies alone.
    """
    from mlpkit.errors import DataError

    folder = checkpoint.parent.parent
    if checkpoint.parent.name != "checkpoints" or not (folder / "config.yaml").is_file():
        raise DataError(f"{checkpoint}: not in a run folder, which this command needs")
    return folder
