"""mlpkit plot."""

from pathlib import Path
from typing import TYPE_CHECKING

from mlpkit.analysis.named_run import newest_of, open_run, run_folder_of
from mlpkit.cli.arguments import AllowLarge, Plugins, Run, Which

if TYPE_CHECKING:
    from mlpkit.folders.fork import Fork

EXAMPLE = "mlpkit plot"


def plot(
    run: Run = None, checkpoint: Which = "best", allow_large: AllowLarge = False, plugin: Plugins = None
) -> None:
    """Draw a run's pictures again; of the branches of a fork, their curves as a tree."""
    from mlpkit.analysis.evaluate import load_matching
    from mlpkit.analysis.predict import make_predictor
    from mlpkit.errors import WriteError
    from mlpkit.folders.fork import fork_of
    from mlpkit.folders.metrics_file import read_metrics
    from mlpkit.folders.run_folder import RunFolder
    from mlpkit.folders.sweep_folder import is_sweep
    from mlpkit.folders.trust import Trust
    from mlpkit.plots.drawing import drawing
    from mlpkit.system.console import make_console, note, say
    from mlpkit.system.lock import locked

    named, _ = newest_of(run)
    if is_sweep(named) and (fork := fork_of(named)):
        _draw_tree(named, fork)
        return
    trust = Trust.foreign(allow_large)
    path, stored = open_run(run, checkpoint, trust)
    folder = RunFolder(run_folder_of(path))
    with locked(folder.lock):
        folder.open_for_writing()
        predictor = make_predictor(stored)
        dataset = load_matching(stored.config.dataset, stored, path, note, trust)
        lines, drawn = read_metrics(folder.metrics), []
        with drawing("pictures", note):
            from mlpkit.plots.pictures import draw_pictures

            drawn = draw_pictures(folder, predictor, dataset, lines, note)
        for picture in drawn:
            say(make_console(), str(picture))
        if not drawn:
            raise WriteError(f"{folder.plots}: no picture could be drawn; the warnings say why")


def _draw_tree(sweep: Path, fork: "Fork") -> None:
    """Draw the curves of a fork's branches into plots/ of its sweep."""
    from mlpkit.analysis.compare import compare
    from mlpkit.errors import DataError
    from mlpkit.folders.results import find_runs, read_results
    from mlpkit.plots.drawing import drawing
    from mlpkit.system.atomic_write import atomic_write
    from mlpkit.system.console import make_console, note, say

    path = sweep / "plots" / "tree.png"
    if path.parent.is_symlink():
        raise DataError(f"{path.parent}: a link, which may lead elsewhere; put a folder there")
    compared = compare(read_results(find_runs([sweep], note), note))
    with drawing("pictures", note):
        from mlpkit.plots import style
        from mlpkit.plots.tree import draw_tree

        with style.applied():
            picture = style.render(draw_tree(compared, fork, note))
        atomic_write(path, picture)
        say(make_console(), str(path))
