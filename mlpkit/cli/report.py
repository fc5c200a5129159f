"""mlpkit report."""

import stat
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
    from mlpkit.folders.output_file import check_output
    from mlpkit.folders.sweep_folder import SweepFolder, is_sweep
    from mlpkit.system.console import note, print_answer, printable

    path, newest = newest_of(run, begun=True)
    folder = SweepFolder(path) if is_sweep(path) else find_run(path)
    if output is not None and output.absolute() != folder.report.absolute():
        check_output(output, (".html",))
    if newest:
        note(f"newest {'sweep' if isinstance(folder, SweepFolder) else 'run'}: {folder.path}")
    print_answer(f"{printable(str(write_report(folder.path, output)))}\n")


def write_report(path: Path, output: Path | None = None) -> Path:
    """Write the report of a run or a sweep, and return its path.

    Args:
        path: the run or the sweep.
        output: the file; None is report.html in the folder.

    Raises:
        DataError: the folder is damaged, or its report.html is a link.
        WriteError: the file cannot be written.
    """
    from mlpkit.folders.output_file import write_output
    from mlpkit.folders.run_folder import RunFolder, refuse_other_kind
    from mlpkit.folders.sweep_folder import SweepFolder, is_sweep
    from mlpkit.plots.report_run import run_report
    from mlpkit.plots.report_sweep import sweep_report
    from mlpkit.system.atomic_write import atomic_write
    from mlpkit.system.console import note

    sweep = SweepFolder(path)
    content = sweep_report(sweep, _errors(sweep), note) if is_sweep(path) else run_report(path)
    if output is not None:
        write_output(output, content)
        return output
    target = RunFolder(path).report
    refuse_other_kind(target, stat.S_ISREG, "file")
    atomic_write(target, content)
    return target


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
    return {
        job.folder: "not trained yet" if job.status == WAITING else f"{job.status}: {job.error}"
        for job in jobs
        if job.status not in (DONE, PRUNED)
    }
