"""mlpkit diagnose."""

from pathlib import Path
from typing import TYPE_CHECKING

from mlpkit.cli.arguments import AllowLarge, Plugins, Run

if TYPE_CHECKING:
    from mlpkit.analysis.evidence import NetworkFacts
    from mlpkit.folders.run_folder import RunFolder
    from mlpkit.folders.trust import Trust

EXAMPLE = "mlpkit diagnose"


def diagnose(run: Run = None, allow_large: AllowLarge = False, plugin: Plugins = None) -> None:
    """Say what the curves of a run show, in up to three lines, each with the override to try."""
    from mlpkit.analysis.diagnose import diagnose_run
    from mlpkit.analysis.named_run import newest_of
    from mlpkit.folders.find_run import find_run
    from mlpkit.folders.metrics_file import keeps_none
    from mlpkit.folders.sweep_folder import is_sweep
    from mlpkit.folders.trust import Trust
    from mlpkit.system.console import make_console, note, say

    path, reason = newest_of(run, begun=True)
    trust, console = Trust.foreign(allow_large), make_console()
    if is_sweep(path):
        path = _sum_up(path)
        reason = "best run"
    folder = find_run(path)
    if reason:
        note(f"{reason}: {folder.path}")
    if keeps_none(folder):
        note(f"from the network alone: {folder.path}: run.files=minimal keeps no curves; run.files=all does")
    found = diagnose_run(folder.path, _look_at_network(folder, trust))
    say(console, *(map(str, found) if found else ["nothing stands out"]))


def _sum_up(sweep: Path) -> Path:
    """Print how many of a sweep's runs have which finding; return its best run, or its first if none is best.

    The weights are not read: what only they show is told of the best run alone.
    """
    from mlpkit.analysis.diagnose import count_kinds, diagnose_run
    from mlpkit.analysis.named_run import best_of_sweep
    from mlpkit.errors import DataError
    from mlpkit.folders.found_runs import find_runs
    from mlpkit.system.console import make_console, note, plain_table

    findings = {}
    for path in find_runs([sweep], note):
        try:
            findings[path] = diagnose_run(path)
        except DataError as error:
            note(f"left out: {error}")
    table = plain_table("finding", ["runs"])
    counts = count_kinds(findings)
    healthy = sum(not found for found in findings.values())
    for kind, count in [*counts.items(), ("nothing stands out", healthy)]:
        table.add_row(kind, f"{count} of {len(findings)}")
    console = make_console()
    console.print(table)
    console.print()
    try:
        return best_of_sweep(sweep)
    except DataError:
        if not findings:
            raise
        return next(iter(findings))


def _look_at_network(folder: "RunFolder", trust: "Trust") -> "NetworkFacts | None":
    """Return what the last weights do on the training rows; None, with a note, if they cannot be had."""
    from mlpkit.analysis.matching_data import load_matching
    from mlpkit.analysis.network_facts import find_facts
    from mlpkit.analysis.predict import make_predictor, members_of
    from mlpkit.errors import DataError
    from mlpkit.folders.checkpoint import load_first
    from mlpkit.folders.find_run import find_checkpoints
    from mlpkit.system.console import note

    try:
        path, stored = load_first(find_checkpoints(folder.path, "last"), note, ("model",), trust)
        dataset = load_matching(stored.config.dataset, stored, path, note, trust)
    except DataError as error:
        note(f"from the curves alone: {error}")
        return None
    predictor = make_predictor(stored)
    return find_facts([member.network for member in members_of(predictor)], predictor.task, dataset)
