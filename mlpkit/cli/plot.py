"""mlpkit plot."""

from mlpkit.cli.arguments import AllowLarge, Plugins, Run, Which, open_run, run_folder_of

EXAMPLE = "mlpkit plot"


def plot(
    run: Run = None, checkpoint: Which = "best", allow_large: AllowLarge = False, plugin: Plugins = None
) -> None:
    """Draw a run's pictures again."""
    from mlpkit.analysis.evaluate import load_matching
    from mlpkit.analysis.predict import make_predictor
    from mlpkit.errors import WriteError
    from mlpkit.plots.drawing import drawing
    from mlpkit.runs.metrics_file import read_metrics
    from mlpkit.runs.run_folder import RunFolder
    from mlpkit.runs.trust import Trust
    from mlpkit.system.console import make_console, note, say
    from mlpkit.system.lock import locked

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
