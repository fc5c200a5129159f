"""mlpkit diff."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.analysis.named_run import choose_run
from mlpkit.cli.arguments import Plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlpkit.folders.difference import Pair

EXAMPLE = "mlpkit diff outputs outputs/moons-mlp"

RunToCompare = Annotated[
    str,
    typer.Argument(
        help="Run folder, checkpoint file (its run), sweep (its best run) or folder of runs (the newest).",
        metavar="RUN",
    ),
]


def diff(first: RunToCompare, second: RunToCompare, plugin: Plugins = None) -> None:
    """Show what differs between two runs: settings, environment and data; and their scores side by side."""
    from mlpkit.config.problems import show
    from mlpkit.folders.difference import compare_runs
    from mlpkit.system.console import make_console, number, say

    paths = [_choose(run) for run in (first, second)]
    difference, console = compare_runs(*paths), make_console()
    say(console, f"A: {paths[0]}", f"B: {paths[1]}", "")
    same = []
    for title, pairs in (("settings", difference.settings), ("environment", difference.environment)):
        if pairs:
            _print_pairs(title, pairs, show)
        else:
            same.append(title)
    if difference.data is None:
        same.append("data")
    else:
        a, b = (text[:12] or "not stored" for text in difference.data)
        say(console, f"data: differs (fingerprint {a} in A, {b} in B)", "")
    if difference.scores:
        _print_pairs("scores at the best epoch", difference.scores, number)
    if all(a == b for a, b in difference.scores.values()):
        same.append("scores")
    if same:
        say(console, f"no difference: {', '.join(same)}")


def _choose(run: str) -> Path:
    """Return the run folder that RUN refers to; a note names it if RUN is not a single run."""
    from mlpkit.folders.find_run import find_run
    from mlpkit.system.console import note

    path, reason = choose_run(run)
    folder = find_run(path).path
    if reason:
        note(f"{reason}: {folder}")
    return folder


def _print_pairs(title: str, pairs: "Mapping[str, Pair]", show_float: "Callable[[float], str]") -> None:
    from mlpkit.config.problems import show
    from mlpkit.system.console import make_console, plain_table

    def cell(value: object) -> str:
        if isinstance(value, float):
            return show_float(value)
        return value if isinstance(value, str) else show(value)

    console, table = make_console(), plain_table(title, ["A", "B"])
    for key, (a, b) in pairs.items():
        table.add_row(key, cell(a), cell(b))
    console.print(table)
    console.print()
