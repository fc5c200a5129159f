"""mlpkit clean."""

import re
from pathlib import Path
from typing import Annotated

import typer

from mlpkit.analysis.named_run import best_of_sweep
from mlpkit.cli.arguments import Plugins
from mlpkit.system.paths import expand

EXAMPLE = "mlpkit clean --older-than 30d"
SECONDS = {"h": 3600, "d": 86_400, "w": 604_800}


def clean(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run folders, or folders of runs such as a sweep; left out, outputs.",
            metavar="RUN_OR_FOLDER",
            show_default=False,
            parser=expand,
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Also runs older than 12h, 30d or 4w."),
    ] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Also older checkpoints (step-…) of finished runs.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it they are only shown.")] = False,
    plugin: Plugins = None,
) -> None:
    """Remove failed runs and runs with nothing saved; tagged runs and each sweep's best are kept."""
    import time

    from rich.filesize import decimal

    from mlpkit.cli.ls import ROOT
    from mlpkit.config.problems import plural
    from mlpkit.errors import DataError, MlpkitError
    from mlpkit.runs.clean import Wanted, left_over, plan, remove
    from mlpkit.runs.listing import list_runs
    from mlpkit.system.console import make_console, note, plain_table, say

    seconds = None if older_than is None else _seconds(older_than)
    tops = paths or [Path(ROOT)]
    if not paths and not tops[0].is_dir():
        raise DataError(f"no run under {ROOT}/; name a folder of runs")

    def best_run(sweep: Path) -> Path | None:
        try:
            return best_of_sweep(sweep)
        except MlpkitError:
            return None

    before = None if seconds is None else time.time() - seconds
    listed = list_runs(tops, note, open_sweeps=False)
    found = plan(listed, Wanted(checkpoints, before, older_than or ""), best_run)
    beside = {path for each in listed for path in (each.path.parent, each.path) if path.is_dir()}
    found.removals += left_over({*tops, *beside})
    console = make_console()
    if found.removals:
        table = plain_table("path", ["why", "size"])
        table.columns[1].justify = "left"
        for removal in found.removals:
            table.add_row(str(removal.path), removal.reason, decimal(removal.size))
        console.print(table)
        console.print()
    for reason, count in sorted(found.kept.items()):
        say(console, f"kept: {plural(count, 'run')} ({reason})")
    if not found.removals:
        say(console, "nothing to remove")
    elif not yes:
        say(console, f"would free {decimal(found.size)}; --yes removes them")
    else:
        say(console, f"freed {decimal(remove(found.removals, note))}")


def _seconds(age: str) -> int:
    """Return an age in seconds.

    Raises:
        ConfigError: it is not a number with h, d or w behind it.
    """
    from mlpkit.errors import ConfigError

    match = re.fullmatch(r"([0-9]{1,6})([hdw])", age, re.ASCII)
    if match is None:
        raise ConfigError(f"--older-than={age}: must be a number of hours, days or weeks: 12h, 30d or 4w")
    return int(match[1]) * SECONDS[match[2]]
