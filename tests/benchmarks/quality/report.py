"""What the results say: ranks, ratios of losses and CPU seconds; development and held-out tables apart."""

import statistics
from collections.abc import Iterable, Sequence
from math import exp, log
from typing import Any

from methods import METHODS
from real_tables import DEVELOPMENT, HELD_OUT, RealTable

Cell = tuple[str, int]  # table and split
Results = dict[str, dict[Cell, dict[str, float]]]  # by method


def print_report(lines: Iterable[dict[str, Any]], methods: Sequence[str]) -> None:
    """Print the tables' losses, and for each method how it compares with the first one that has results.

    Args:
        lines: of the results file.
        methods: that are compared, the one that the others are measured against first.
    """
    found: Results = {}
    for line in lines:
        found.setdefault(line["method"], {})[line["table"], line["split"]] = line
    results = {method: found[method] for method in methods if method in found}
    for title, tables in (("development", DEVELOPMENT), ("held out", HELD_OUT)):
        print(f"\n{title}: log loss of classes, RMSE of numbers; mean ± standard deviation over splits")
        _print_losses(tables, results)
        _print_comparison(tables, results)


def _print_losses(tables: Sequence[RealTable], results: Results) -> None:
    for table in tables:
        shown = []
        for method, cells in results.items():
            losses = [cell["loss"] for (name, _), cell in cells.items() if name == table.name]
            if losses:
                spread = f" ± {statistics.stdev(losses):.2g}" if len(losses) > 1 else ""
                shown.append(f"{method} {statistics.mean(losses):.4g}{spread}")
        print(f"  {table.name} ({table.task}): " + "; ".join(shown))


def _print_comparison(tables: Sequence[RealTable], results: Results) -> None:
    """Print a line for each method: ranks among the fits that all have, ratios among those that two have."""
    names = {table.name for table in tables}
    of = {
        method: {cell: line for cell, line in cells.items() if cell[0] in names}
        for method, cells in results.items()
    }
    common = set.intersection(*(set(cells) for cells in of.values())) if of else set()
    ours = next(iter(of), "")
    print(f"{'':<26}{'rank of ' + str(len(common)):>12}{'CPU s':>8}  {ours}'s loss over its, lower in")
    for method, cells in of.items():
        ranks = [1 + sum(of[other][cell]["loss"] < cells[cell]["loss"] for other in of) for cell in common]
        rank = f"{statistics.mean(ranks):.2f}" if ranks else "–"
        seconds = f"{statistics.mean(line['seconds'] for line in cells.values()):.1f}" if cells else "–"
        print(f"{METHODS[method].title:<26}{rank:>12}{seconds:>8}  {_against(of[ours], cells)}")


def _against(ours: dict[Cell, dict[str, float]], theirs: dict[Cell, dict[str, float]]) -> str:
    """Return the geometric mean of the losses' ratios, its spread over splits, and how often ours is less."""
    logs = {cell: log(ours[cell]["loss"] / theirs[cell]["loss"]) for cell in set(ours) & set(theirs)}
    if not logs:
        return "–"
    splits = [
        statistics.mean(of for (_, split), of in logs.items() if split == number)
        for number in {split for _, split in logs}
    ]
    spread = f" ± {statistics.stdev(map(exp, splits)):.3f}" if len(splits) > 1 else ""
    lower = sum(of < 0 for of in logs.values())
    return f"{exp(statistics.mean(logs.values())):.3f}{spread}, {lower} of {len(logs)}"
