"""mlpkit lr."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.cli.arguments import Overrides, Plugins, command_line

if TYPE_CHECKING:
    from mlpkit.analysis.lr_range import LrRange
    from mlpkit.config.config import Config

EXAMPLE = "mlpkit lr dataset=moons model=mlp"

RATES, SEEDS = 32, 3
LOWEST, HIGHEST = 1e-5, 10.0
EPOCHS, FULL_BATCH_EPOCHS = 5, 100  # the latter where an epoch is one step


def lr(
    overrides: Overrides = None,
    lowest: Annotated[float, typer.Option("--from", metavar="LR", help="The lowest rate.")] = LOWEST,
    highest: Annotated[float, typer.Option("--to", metavar="LR", help="The highest rate.")] = HIGHEST,
    plugin: Plugins = None,
) -> None:
    """Train 32 learning rates with 3 seeds for a few epochs, and show which are stable and which is best."""
    from mlpkit.cli.compose import Request, read_config
    from mlpkit.cli.plan import plan
    from mlpkit.cli.shorthand import expand
    from mlpkit.errors import ConfigError, JobsFailedError
    from mlpkit.runs import sweep_folder
    from mlpkit.runs.labels import Labels, write_labels
    from mlpkit.runs.origin import Origin
    from mlpkit.runs.test_looks import looks_recorded
    from mlpkit.runs.trust import Trust
    from mlpkit.sweep.run import start
    from mlpkit.sweep.vectorized import vectorized
    from mlpkit.system.console import make_console, note

    if not 0 < lowest < highest <= 1e6:
        raise ConfigError(f"--from={lowest} --to={highest}: must be above 0, and the first below the second")
    given = expand(overrides or ())
    request = Request(given)
    config = read_config(request)
    if not request.sets("trainer.epochs"):
        epochs = FULL_BATCH_EPOCHS if config.trainer.batch_size == "full" else EPOCHS
        given = (*given, f"trainer.epochs={epochs}")
    factor = (highest / lowest) ** (1 / (RATES - 1))
    rates = ",".join(f"{lowest * factor**number:.3g}" for number in range(RATES))
    seeds = ",".join(map(str, range(SEEDS)))
    swept = (f"optimizer.lr={rates}", f"seed={seeds}")
    request = Request((*given, *swept)).with_defaults("run.plots=false", "run.loggers=[]")
    jobs = plan(request).jobs
    sweep = sweep_folder.create([job.config for job in jobs])
    console, origin = make_console(), Origin(command_line(), Trust.OWN, request.overrides)
    try:
        with looks_recorded(sweep.path, origin.command, note):
            start(sweep, jobs, origin, vectorized, console)
    except JobsFailedError:  # the rates that are too high
        pass
    write_labels(sweep.labels, Labels(("lr",)))
    show(sweep.path, jobs[0].config)


def show(sweep: Path, config: "Config") -> None:
    """Print the losses by rate, the stable range and the suggested rate, and draw them."""
    from mlpkit.analysis.lr_range import median
    from mlpkit.plots.drawing import drawing
    from mlpkit.system.atomic_write import atomic_write
    from mlpkit.system.console import make_console, note, number, plain_table, say

    console = make_console()
    found, split = _losses(sweep)
    table = plain_table("lr", [f"median {split} loss", "lowest", "highest", "diverged"])
    for rate, losses in found.losses.items():
        finite = [loss for loss in losses if loss is not None]
        middle = median(losses)
        cells = (
            [number(middle), number(min(finite)), number(max(finite))] if middle is not None else ["", "", ""]
        )
        gone = len(losses) - len(finite)
        table.add_row(f"{rate:.3g}", *cells, f"{gone} of {len(losses)}" if gone else "")
    console.print()
    console.print(table)
    console.print()
    if found.stable is None or found.suggested is None:
        say(
            console,
            f"no rate is stable: at each a seed ends above {number(found.untrained)}, the loss untrained",
        )
    else:
        low, high = found.stable
        rule = f"no seed diverges or ends above {number(found.untrained)}, the loss untrained"
        say(console, f"stable: {low:.3g} to {high:.3g} ({rule})")
        say(console, f"suggested: optimizer.lr={found.suggested:.3g} (lowest loss of the worst seed)")
    path = sweep / "plots" / "lr.png"
    with drawing("pictures", note):
        from mlpkit.plots import style
        from mlpkit.plots.lr_range import draw_lr_range

        about = f"{config.dataset.title()}, {config.model.name}, {config.optimizer.name}: {SEEDS} seeds, "
        about += f"{config.trainer.epochs} epochs"
        with style.applied():
            picture = style.render(draw_lr_range(found, f"{split} loss", about))
        atomic_write(path, picture)
        say(console, f"picture: {path}")
    say(console, f"sweep folder: {sweep}")


def _losses(sweep: Path) -> "tuple[LrRange, str]":
    """Return the losses of a sweep's runs, and the split that they are of.

    Raises:
        DataError: all runs have diverged.
    """
    from mlpkit.analysis.lr_range import judge
    from mlpkit.errors import DataError
    from mlpkit.runs.metrics_file import read_metrics
    from mlpkit.runs.results import find_runs, read_results
    from mlpkit.runs.run_folder import RunFolder
    from mlpkit.system.console import note

    results = read_results(find_runs([sweep], note), note)
    split = next((run.best.split for run in results if run.best is not None), None)
    if split is None:
        raise DataError(f"{sweep}: every run has diverged; try a lower --to, or look at the data")
    losses: dict[float, list[float | None]] = {}
    starts: dict[float, list[float]] = {}
    for run in results:
        rate = float(run.settings["optimizer.lr"])
        lines = [line for line in read_metrics(RunFolder(run.path).metrics) if line["split"] == split]
        values = [line["loss"] for line in lines if line["loss"] is not None]
        losses.setdefault(rate, []).append(values[-1] if run.best is not None and values else None)
        starts.setdefault(rate, []).extend(values[:1])
    # After one epoch at the lowest rate the weights are as good as untrained; seeds draw others.
    lowest = min(rate for rate in starts if starts[rate])
    return judge(losses, max(starts[lowest])), split
