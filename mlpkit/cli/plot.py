"""mlpkit plot."""

from mlpkit.cli.arguments import Run, Which, open_run, run_folder_of

EXAMPLE = "mlpkit plot"


def plot(run: Run = None, checkpoint: Which = "best") -> None:
    """Draw a run's pictures again."""
    from mlpkit.evaluate import load_matching
    from mlpkit.logs import read_metrics
    from mlpkit.plots import draw_pictures
    from mlpkit.predict import load_predictor
    from mlpkit.run_folder import RunFolder

    path = open_run(run, checkpoint)
    folder = RunFolder(run_folder_of(path))
    predictor, stored = load_predictor(path)
    dataset = load_matching(stored.config.dataset, stored, path)
    for picture in draw_pictures(folder, predictor, dataset, read_metrics(folder.metrics)):
        print(picture)
