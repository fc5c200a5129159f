"""mlpkit compare."""

from pathlib import Path
from typing import Annotated

import typer

from mlpkit.cli.arguments import Plugins
from mlpkit.config.problems import plural
from mlpkit.system.paths import expand

EXAMPLE = "mlpkit compare --by optimizer.lr"


def compare(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run folders, or folders of runs such as a sweep; left out, the newest.",
            metavar="SWEEP_OR_RUN",
            show_default=False,
            parser=expand,
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="KEY", help="Compare values of this key, averaged over all others."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", metavar="NAME", help="A score such as loss or test.accuracy."),
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", metavar="N", min=1, help="Show the N best settings only.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", parser=expand, help="Write a .csv, .jsonl or .md file."),
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw pictures, into plots/ of the folder.")] = False,
    plot_dir: Annotated[
        Path | None,
        typer.Option("--plot-dir", metavar="DIR", parser=expand, help="Draw them into this folder instead."),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Rank settings by their mean score over seeds, and mark those that are tied with the best."""
    from mlpkit.analysis.compare import compare as compare_runs
    from mlpkit.analysis.leaderboard import ENDINGS, print_leaderboard, write_leaderboard
    from mlpkit.runs.output_file import check_output, check_picture_folder
    from mlpkit.runs.results import SWEEP, find_runs, newest_group, read_results
    from mlpkit.system.console import make_console, note, say

    if output is not None:
        check_output(output, ENDINGS)
    if plot_dir is not None:
        check_picture_folder(plot_dir)
    if not paths:
        paths = [newest_group()]
        kind = "sweep" if paths[0].name.startswith(SWEEP) else "group of runs"
        note(f"newest {kind}: {paths[0]}")
    folders = find_runs(paths, note)
    compared = compare_runs(read_results(folders, note), by or (), metric)
    if compared.repeats:
        note(f"left out {plural(compared.repeats, 'run')} with settings and seed of a newer one")
    unit = "runs" if by else "seeds"
    settings = compared.settings[:top]
    console = make_console()
    print_leaderboard(console, compared, settings, unit)
    if output is not None:
        write_leaderboard(output, compared, settings, unit)
        say(console, f"leaderboard: {output}")
    if plot or plot_dir is not None:
        from mlpkit.plots.drawing import drawing

        with drawing("pictures", note):
            from mlpkit.plots.comparison import draw_comparison, folder_for

            for picture in draw_comparison(compared, plot_dir or folder_for(folders), note):
                say(console, str(picture))
