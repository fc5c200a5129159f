"""mlpkit film."""

import stat
from pathlib import Path
from typing import Annotated

import typer

from mlpkit.analysis.named_run import newest_of
from mlpkit.cli.arguments import AllowLarge, Plugins, Run
from mlpkit.system.paths import expand

EXAMPLE = "mlpkit film --output film.gif"
ENDINGS = (".html", ".gif", ".mp4")


def film(
    run: Run = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="KEY", help="Sweep: show the best run of each value of this key."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            parser=expand,
            help="A .html (with a slider), .gif or .mp4 (needs ffmpeg); left out, plots/film.html of the run "
            "or the sweep.",
        ),
    ] = None,
    allow_large: AllowLarge = False,
    plugin: Plugins = None,
) -> None:
    """Show the fit or the decision boundary over the epochs, of a run or of up to 16 runs of a sweep.

    The runs must have been trained with run.film=N.
    """
    from mlpkit.analysis.filmed_runs import filmed_runs
    from mlpkit.errors import ConfigError
    from mlpkit.folders.find_run import find_run
    from mlpkit.folders.output_file import check_output, write_output
    from mlpkit.folders.run_folder import refuse_other_kind
    from mlpkit.folders.sweep_folder import SweepFolder, is_sweep
    from mlpkit.folders.trust import Trust
    from mlpkit.plots.film import make_film
    from mlpkit.plots.movie_format import check_ffmpeg
    from mlpkit.system.atomic_write import atomic_write
    from mlpkit.system.console import make_console, note, say

    if output is not None:
        check_output(output, ENDINGS)
        if output.suffix == ".mp4":
            check_ffmpeg()
    named, _ = newest_of(run)
    if is_sweep(named):
        plots, runs = SweepFolder(named).plots, filmed_runs(named, by, note)
    else:
        folder = find_run(named)
        plots, runs = folder.plots, {folder.path: ""}
        if by is not None:
            raise ConfigError(f"--by={by}: {folder.path} is a single run; name a sweep")
    path = output
    if path is None:
        refuse_other_kind(plots, stat.S_ISDIR, "folder")
        path = plots / "film.html"
    write = atomic_write if output is None else write_output
    write(path, make_film(runs, path.suffix, Trust.foreign(allow_large), note))
    say(make_console(), str(path))
