"""mlpkit clean."""

import re
from pathlib import Path
from typing import Annotated

import typer

from mlpkit.analysis.named_run import best_of_sweep
from mlpkit.cli.arguments import Plugins
from mlpkit.cli.ls import Folders

EXAMPLE = "mlpkit clean --older-than 30d"
SECONDS = {"h": 3600, "d": 86_400, "w": 604_800}


def clean(
    paths: Folders = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Also runs older than 12h, 30d or 4w."),
    ] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Also older checkpoints (step-…) of finished runs.")
    ] = False,
    cache: Annotated[
        bool,
        typer.Option(
            "--cache", help="The tables on the disk of datasets larger than memory; alone, only these."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it they are only shown.")] = False,
    plugin: Plugins = None,
) -> None:
    """Remove failed runs and runs with nothing saved; tagged runs and each sweep's best are kept."""
    import time

    from rich.filesize import decimal

    from mlpkit.cli.ls import folders_or_outputs
    from mlpkit.config.problems import plural
    from mlpkit.errors import MlpkitError
    from mlpkit.folders.clean import Wanted, left_over, plan, remove
    from mlpkit.folders.listing import list_runs
    from mlpkit.system.console import make_console, note, plain_table, say

    seconds = None if older_than is None else _seconds(older_than)
    only_tables = cache and not (paths or older_than or checkpoints)
    folders = [] if only_tables else folders_or_outputs(paths, may_be_none=cache)

    def best_run(sweep: Path) -> Path | None:
        try:
            return best_of_sweep(sweep)
        except MlpkitError:
            return None

    before = None if seconds is None else time.time() - seconds
    listed = list_runs(folders, note, open_sweeps=False)
    planned = plan(listed, Wanted(checkpoints, before, older_than or ""), best_run)
    beside = {path for each in listed for path in (each.path.parent, each.path) if path.is_dir()}
    planned.removals += left_over({*folders, *beside})
    tables = []
    if cache:
        from mlpkit.data.disk_cache import cached_tables, remove_table  # loads torch

        tables = cached_tables()
    size = planned.size + sum(each.size for each in tables)
    console = make_console()
    if planned.removals or tables:
        table = plain_table("path", ["why", "size"])
        table.columns[1].justify = "left"
        for removal in planned.removals:
            table.add_row(str(removal.path), removal.reason, decimal(removal.size))
        for each in tables:
            table.add_row(str(each.path), f"table of {each.title}", decimal(each.size))
        console.print(table)
        console.print()
    for reason, count in sorted(planned.kept.items()):
        say(console, f"kept: {plural(count, 'run')} ({reason})")
    if not (planned.removals or tables):
        say(console, "nothing to remove")
    elif not yes:
        say(console, f"would free {decimal(size)}; --yes removes them")
    else:
        freed = remove(planned.removals, note)
        for each in tables:
            remove_table(each)
            freed += each.size
        say(console, f"freed {decimal(freed)}")


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
