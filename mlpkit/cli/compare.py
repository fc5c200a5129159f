"""mlpkit compare."""

from pathlib import Path
from typing import Annotated

import typer

from mlpkit.cli.arguments import Plugins
from mlpkit.config.problems import plural
from mlpkit.errors import ConfigError
from mlpkit.system.garbage import collection_paused
from mlpkit.system.paths import common_parent, expand

EXAMPLE = "mlpkit compare --by optimizer.lr"


@collection_paused()
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
    at_best: Annotated[
        list[str] | None,
        typer.Option(
            "--at-best",
            metavar="KEY",
            help="With --by: choose the best value of this key for each, by validation scores; then compare "
            "on test.",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", metavar="NAME", help="A score such as loss or test.accuracy."),
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", metavar="N", min=1, help="Show the N best settings only.")
    ] = None,
    each_run: Annotated[
        bool, typer.Option("--runs", help="A row for each run: its settings and all of its scores.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            parser=expand,
            help="Write a .csv, .jsonl, .md, .tex or .parquet file.",
        ),
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw pictures, into plots/ of the folder.")] = False,
    plot_dir: Annotated[
        Path | None,
        typer.Option("--plot-dir", metavar="DIR", parser=expand, help="Draw them into this folder instead."),
    ] = None,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Write each setting's mean curves and range as a run of TensorBoard, into tensorboard/ of "
            "the folder.",
        ),
    ] = False,
    tensorboard_dir: Annotated[
        Path | None,
        typer.Option("--tensorboard-dir", metavar="DIR", parser=expand, help="Into this folder instead."),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Rank settings by their mean score over seeds, and show which differ from the best."""
    from mlpkit.analysis.compare import compare_alike
    from mlpkit.analysis.leaderboard import print_leaderboard
    from mlpkit.analysis.leaderboard_file import ENDINGS, write_leaderboards, write_rows
    from mlpkit.folders.indexed_results import newest_group, results_below
    from mlpkit.folders.output_file import check_output, check_output_folder
    from mlpkit.folders.results import SWEEP
    from mlpkit.system.console import make_console, note, say

    if output is not None:
        check_output(output, ENDINGS)
    for option, folder in (("--plot-dir", plot_dir), ("--tensorboard-dir", tensorboard_dir)):
        if folder is not None:
            check_output_folder(folder, option)
    if at_best and not by:
        raise ConfigError(f"--at-best={at_best[0]}: needs --by KEY, whose values are compared")
    if not paths:
        paths = [newest_group()]
        kind = "sweep" if paths[0].name.startswith(SWEEP) else "group of runs"
        note(f"newest {kind}: {paths[0]}")
    results, console = results_below(paths, note), make_console()
    if each_run:
        from mlpkit.analysis.run_table import print_runs, run_rows

        rows = run_rows(results)
        print_runs(console, rows[:top])
        if output is not None:
            write_rows(output, rows[:top])
            say(console, f"runs: {output}")
        return
    if at_best:
        from mlpkit.analysis.at_best import compare_at_best

        found, tried = compare_at_best(results, by or (), at_best, metric)
        compared = [found]
        note(f"tried values of {', '.join(at_best)}: {', '.join(f'{key}: {n}' for key, n in tried.items())}")
    else:
        compared = compare_alike(results, by or (), metric)
    if repeats := sum(found.repeats for found in compared):
        note(f"left out {plural(repeats, 'run')} with settings and seed of a newer one")
    unit = "runs" if by else compared[0].unit
    shown = [(found, found.settings[:top]) for found in compared]
    for index, (found, settings) in enumerate(shown):
        if index:
            console.print()
        print_leaderboard(console, found, settings, unit)
    if output is not None:
        write_leaderboards(output, shown, unit)
        say(console, f"leaderboard: {output}")
    if tensorboard or tensorboard_dir is not None:
        from mlpkit.cli.compare_tensorboard import write_means

        events = tensorboard_dir or common_parent([run.folder for run in results]) / "tensorboard"
        say(console, write_means(compared, unit, events, note))
    if plot or plot_dir is not None:
        from mlpkit.plots.drawing import drawing

        pictures = plot_dir or common_parent([run.folder for run in results]) / "plots"
        with drawing("pictures", note):
            from mlpkit.plots.comparison import draw_comparison

            if len(compared) > 1:
                note(f"pictures of the first of {len(compared)} tables; name its runs alone for the others")
            for picture in draw_comparison(compared[0], pictures, note):
                say(console, str(picture))
