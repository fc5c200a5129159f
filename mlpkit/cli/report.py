"""mlpkit report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.analysis.named_run import newest_of
from mlpkit.cli.arguments import Plugins
from mlpkit.system.paths import expand

if TYPE_CHECKING:
    from mlpkit.folders.sweep_folder import SweepFolder

EXAMPLE = "mlpkit report"

RunOrSweep = Annotated[
    str | None,
    typer.Argument(
        help="Run folder, sweep, checkpoint file (its run) or folder of runs (the newest run or sweep); left "
        "out, the newest.",
        metavar="RUN|SWEEP",
    ),
]


def report(
    run: RunOrSweep = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            parser=expand,
            help="The .html file; left out, report.html in the folder.",
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Write one HTML file on a run or a sweep: scores, curves, pictures, settings, problems, commands."""
    from mlpkit.folders.find_run import find_run
    from mlpkit.folders.output_file import check_output, write_output
    from mlpkit.folders.sweep_folder import SweepFolder, is_sweep
    from mlpkit.system.console import note, print_answer, printable

    path, newest = newest_of(run, begun=True)
    folder = SweepFolder(path) if is_sweep(path) else find_run(path)
    if output is not None and output.absolute() != folder.report.absolute():
        check_output(output, (".html",))
    if newest:
        note(f"newest {'sweep' if isinstance(folder, SweepFolder) else 'run'}: {folder.path}")
    target = output or folder.report
    write_output(target, make_report(folder.path))
    print_answer(f"{printable(str(target))}\n")


def make_report(path: Path) -> bytes:
    """Return the report of a run or a sweep.

    Raises:
        DataError: the folder is damaged.
    """
    from mlpkit.folders.sweep_folder import SweepFolder, is_sweep
    from mlpkit.plots.report_run import run_report

    if not is_sweep(path):
        return run_report(path)
    from mlpkit.plots.report_sweep import sweep_report
    from mlpkit.system.console import note

    folder = SweepFolder(path)
    return sweep_report(folder, _errors(folder), note)


def _errors(folder: "SweepFolder") -> dict[str, str]:
    """Return why runs of a sweep failed or are missing, by the names of their folders."""
    from mlpkit.errors import DataError, WriteError
    from mlpkit.sweeps.ledger import DONE, PRUNED, WAITING, Ledger

    try:
        folder.open_for_writing()  # SQLite writes beside a file that it reads
        with Ledger(folder.ledger) as ledger:
            jobs = ledger.entries()
    except (DataError, WriteError):  # the runs' folders say most of it
        return {}
    said = {WAITING: "not trained yet"}
    return {job.folder: said.get(job.status, job.error) for job in jobs if job.status not in (DONE, PRUNED)}
