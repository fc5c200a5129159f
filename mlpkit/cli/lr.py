"""mlpkit lr."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.cli.arguments import Overrides, Plugins, command_line

if TYPE_CHECKING:
    from mlpkit.analysis.lr_range import LrRange
    from mlpkit.config.config import Config

EXAMPLE = "mlpkit lr dataset=moons model=mlp"

LRS, SEEDS = 32, 3  # how many
LOWEST, HIGHEST = 1e-5, 10.0
EPOCHS, FULL_BATCH_EPOCHS = 5, 100  # with trainer.batch_size=full an epoch is one step


def lr(
    overrides: Overrides = None,
    lowest: Annotated[float, typer.Option("--from", metavar="LR", help="The lowest lr.")] = LOWEST,
    highest: Annotated[float, typer.Option("--to", metavar="LR", help="The highest lr.")] = HIGHEST,
    plugin: Plugins = None,
) -> None:
    """Train 32 learning rates with 3 seeds for a few epochs, and show which are stable and which is best."""
    from mlpkit.cli.compose import Request, read_config
    from mlpkit.cli.plan import plan
    from mlpkit.cli.shorthand import expand
    from mlpkit.cli.sweep import QUIET, train_jobs
    from mlpkit.errors import ConfigError
    from mlpkit.folders.labels import Labels, write_labels
    from mlpkit.folders.origin import Origin
    from mlpkit.folders.trust import Trust
    from mlpkit.system.console import make_console

    if not 0 < lowest < highest <= 1e6:
        raise ConfigError(f"--from={lowest} --to={highest}: must be above 0, and the first below the second")
    given = expand(overrides or ())
    request = Request(given)
    config = read_config(request)
    if not request.sets("trainer.epochs"):
        epochs = FULL_BATCH_EPOCHS if config.trainer.batch_size == "full" else EPOCHS
        given = (*given, f"trainer.epochs={epochs}")
    elif config.trainer.epochs == 0:
        raise ConfigError("trainer.epochs=0: trains nothing, so no learning rate is better; choose 1 or more")
    if config.run.files == "minimal":
        raise ConfigError("run.files=minimal: keeps no curves, which lr reads; add run.files=all")
    factor = (highest / lowest) ** (1 / (LRS - 1))
    lrs = ",".join(f"{lowest * factor**number:.3g}" for number in range(LRS))
    request = Request((*given, f"optimizer.lr={lrs}", f"seed=range({SEEDS})")).with_defaults(*QUIET)
    jobs = plan(request).jobs
    origin = Origin(command_line(), Trust.OWN, request.overrides)
    sweep, _ = train_jobs(jobs, origin, make_console())  # jobs fail where the learning rate is too high
    write_labels(sweep.labels, Labels(("lr",)))
    show(sweep.path, jobs[0].config)


def show(sweep: Path, config: "Config") -> None:
    """Print and draw the losses by learning rate, the stable range and the suggested learning rate."""
    from mlpkit.analysis.lr_range import spreads
    from mlpkit.folders.sweep_folder import SweepFolder
    from mlpkit.plots.drawing import drawing
    from mlpkit.system.atomic_write import atomic_write
    from mlpkit.system.console import make_console, note, number, plain_table, say

    console = make_console()
    result, split = _read_losses(sweep)
    table = plain_table("lr", [f"median {split} loss", "lowest", "highest", "diverged"])
    finite = spreads(result.losses)
    for lr, losses in result.losses.items():
        low, median, high = map(number, finite[lr]) if lr in finite else ("", "", "")
        diverged = sum(loss is None for loss in losses)
        table.add_row(f"{lr:.3g}", median, low, high, f"{diverged} of {len(losses)}" if diverged else "")
    console.print()
    console.print(table)
    console.print()
    untrained = f"{number(result.untrained)}, the untrained loss"
    if result.stable is None:
        say(console, f"no learning rate is stable: at each one a seed diverges or ends above {untrained}")
    else:
        lowest, highest = result.stable
        say(console, f"stable: {lowest:.3g} to {highest:.3g} (no seed diverges or ends above {untrained})")
        say(console, f"suggested: optimizer.lr={result.suggested:.3g} (lowest loss of the worst seed)")
    path = SweepFolder(sweep).plots / "lr.png"
    with drawing("pictures", note):
        from mlpkit.plots import style
        from mlpkit.plots.lr_range import draw_lr_range

        about = f"{config.dataset.title()}, {config.model.name}, {config.optimizer.name}: {SEEDS} seeds, "
        about += f"{config.trainer.epochs} epochs"
        with style.applied():
            picture = style.render(draw_lr_range(result, f"{split} loss", about))
        atomic_write(path, picture)
        say(console, f"picture: {path}")
    say(console, f"sweep folder: {sweep}")


def _read_losses(sweep: Path) -> "tuple[LrRange, str]":
    """Return the losses of a sweep's runs, and their split.

    Raises:
        DataError: all runs have diverged.
    """
    from mlpkit.analysis.lr_range import judge
    from mlpkit.errors import DataError
    from mlpkit.folders.indexed_results import results_below
    from mlpkit.folders.metrics_file import read_metrics
    from mlpkit.folders.run_folder import RunFolder
    from mlpkit.system.console import note

    results = results_below([sweep], note)
    split = next((run.best.split for run in results if run.best is not None), None)
    if split is None:
        raise DataError(f"{sweep}: every run has diverged; try a lower --to, or look at the data")
    losses: dict[float, list[float | None]] = {}
    starts: dict[float, list[float]] = {}
    for run in results:
        lr = float(run.settings["optimizer.lr"])
        lines = [line for line in read_metrics(RunFolder(run.path).metrics) if line["split"] == split]
        values = [line["loss"] for line in lines if line["loss"] is not None]
        losses.setdefault(lr, []).append(values[-1] if run.best is not None and values else None)
        starts.setdefault(lr, []).extend(values[:1])
    # The untrained loss is not logged. After one epoch at the lowest learning rate it has hardly changed.
    lowest = min(lr for lr in starts if starts[lr])
    return judge(losses, max(starts[lowest])), split
