"""mlpkit plot."""

import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlpkit.analysis.named_run import newest_of, open_run, run_folder_of
from mlpkit.cli.arguments import PICTURES, AllowLarge, Plugins, Run, Which
from mlpkit.config.problems import spell
from mlpkit.errors import ConfigError, DataError
from mlpkit.system.paths import expand

if TYPE_CHECKING:
    from mlpkit.analysis.predict import Predictor
    from mlpkit.data.dataset import Dataset
    from mlpkit.folders.checkpoint import Checkpoint
    from mlpkit.folders.fork import Fork
    from mlpkit.folders.trust import Trust

EXAMPLE = "mlpkit plot --picture curves --output curves.pdf --style paper --width 8.5"


def plot(
    run: Run = None,
    picture: Annotated[
        str | None, typer.Option("--picture", metavar="NAME", help="One picture only, such as curves.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            parser=expand,
            help="Write one picture to a .png, .pdf or .svg; left out, all into plots/ of the run.",
        ),
    ] = None,
    width: Annotated[
        float | None,
        typer.Option("--width", metavar="CM", min=4, max=60, help="With --output: the width in cm."),
    ] = None,
    look: Annotated[
        str,
        typer.Option(
            "--style", metavar="screen | paper", help="With --output: paper is serif, small, black."
        ),
    ] = "screen",
    checkpoint: Which = "best",
    allow_large: AllowLarge = False,
    plugin: Plugins = None,
) -> None:
    """Draw a run's pictures again; of the branches of a fork, their curves as a tree.

    Pictures of other weights than the best ones go into plots/epoch-N.
    """
    from mlpkit.folders.fork import fork_of
    from mlpkit.folders.output_file import check_output
    from mlpkit.folders.run_folder import RunFolder
    from mlpkit.folders.sweep_folder import is_sweep
    from mlpkit.folders.trust import Trust
    from mlpkit.system.lock import locked

    if look not in ("screen", "paper"):
        raise ConfigError(f"--style={spell(look)}: must be screen or paper")
    if output is not None:
        check_output(output, PICTURES)
    elif width is not None or look != "screen":
        raise ConfigError("--width and --style: need --output FILE; the run's own pictures keep their look")
    named, _ = newest_of(run)
    if output is None and picture is None and is_sweep(named) and (fork := fork_of(named)):
        _draw_tree(named, fork)
        return
    trust = Trust.foreign(allow_large)
    path, stored = open_run(run, checkpoint, trust)
    folder = RunFolder(run_folder_of(path))
    if output is not None:
        _write_one(path, stored, trust, picture, output, look, width)
        return
    with locked(folder.lock):
        folder.open_for_writing()
        _draw_all(path, stored, trust, picture)


def _draw_all(path: Path, stored: "Checkpoint", trust: "Trust", name: str | None) -> None:
    """Draw the pictures of a checkpoint into its run."""
    from mlpkit.errors import WriteError
    from mlpkit.folders.run_folder import RunFolder
    from mlpkit.plots.drawing import drawing
    from mlpkit.system.console import make_console, note, say

    folder = folder_of_pictures(path, stored)
    loaded, drawn = _load(path, stored, trust), list[Path]()
    with drawing("pictures", note):
        from mlpkit.plots.pictures import draw_pictures

        drawn = draw_pictures(folder, *loaded, note, name)
    for picture in drawn:
        say(make_console(), str(picture))
    if not drawn:
        raise WriteError(
            f"{RunFolder(path.parent.parent).plots}: no picture could be drawn; the warnings say why"
        )


def _write_one(
    path: Path,
    stored: "Checkpoint",
    trust: "Trust",
    name: str | None,
    output: Path,
    style: str,
    width: float | None,
) -> None:
    """Write a picture of a checkpoint to a file outside of its run."""
    from mlpkit.errors import WriteError
    from mlpkit.folders.output_file import write_output
    from mlpkit.plots.drawing import drawing
    from mlpkit.system.console import make_console, note, say

    loaded, content = _load(path, stored, trust), b""
    with drawing("the picture", note):
        from mlpkit.plots.look import Look, paper
        from mlpkit.plots.pictures import draw_picture

        inches = None if width is None else width / 2.54
        look = paper(inches) if style == "paper" else Look(inches)
        content = draw_picture(*loaded, name, output.suffix, look)
    if not content:
        raise WriteError(f"--output={output}: the picture could not be drawn; the warning says why")
    write_output(output, content)
    say(make_console(), str(output))


def _load(
    path: Path, stored: "Checkpoint", trust: "Trust"
) -> "tuple[Predictor, Dataset, list[dict[str, Any]]]":
    """Return a checkpoint's model and dataset, and the lines of its run's metrics.jsonl."""
    from mlpkit.analysis.matching_data import load_matching
    from mlpkit.analysis.predict import make_predictor
    from mlpkit.folders.metrics_file import read_metrics
    from mlpkit.folders.run_folder import RunFolder
    from mlpkit.system.console import note

    predictor = make_predictor(stored)
    dataset = load_matching(stored.config.dataset, stored, path, note, trust)
    why = {"best": f"best by {dataset.monitored}", "last": "the last"}
    predictor.chosen = why.get(stored.name_of(path), "")
    folder = RunFolder(path.parent.parent)
    if folder.is_one_file and not folder.metrics.exists():
        note(f"no curves: {folder.path}: run.files=minimal keeps none; run.files=all does")
        return predictor, dataset, []
    return predictor, dataset, read_metrics(folder.metrics)


def folder_of_pictures(path: Path, stored: "Checkpoint") -> Path:
    """Return plots/ of the run for its best weights, so that those of others never replace them.

    A run that has no best epoch, such as an untrained one, has its newest weights in their place.

    Raises:
        DataError: a link in its place may lead out of the run.
    """
    from mlpkit.folders.checkpoint import read_header
    from mlpkit.folders.run_folder import RunFolder, refuse_other_kind

    folder, progress = RunFolder(path.parent.parent), stored.state.progress
    if stored.is_best:
        return folder.plots
    with suppress(DataError):
        newest = read_header(folder.last).state.progress
        if progress.step == newest.best_step or (path == folder.last and not newest.best_epoch):
            return folder.plots
    other = folder.plots / f"epoch-{progress.epoch}"
    refuse_other_kind(other, stat.S_ISDIR, "folder")
    return other


def _draw_tree(sweep: Path, fork: "Fork") -> None:
    """Draw the curves of a fork's branches into plots/ of its sweep."""
    from mlpkit.analysis.compare import compare
    from mlpkit.errors import DataError
    from mlpkit.folders.indexed_results import results_below
    from mlpkit.folders.sweep_folder import SweepFolder
    from mlpkit.plots.drawing import drawing
    from mlpkit.system.atomic_write import atomic_write
    from mlpkit.system.console import make_console, note, say

    path = SweepFolder(sweep).plots / "tree.png"
    if path.parent.is_symlink():
        raise DataError(f"{path.parent}: a link, which may lead elsewhere; put a folder there")
    compared = compare(results_below([sweep], note))
    with drawing("pictures", note):
        from mlpkit.plots import style
        from mlpkit.plots.tree import draw_tree

        with style.applied():
            picture = style.render(draw_tree(compared, fork, note))
        atomic_write(path, picture)
        say(make_console(), str(path))
