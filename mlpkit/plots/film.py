"""Makes a film of one run or of several, as a page or a movie."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlpkit.analysis.filmed_runs import no_film
from mlpkit.analysis.matching_data import load_matching
from mlpkit.analysis.predict import Predictor, make_predictor
from mlpkit.data.dataset import Dataset
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders.checkpoint import Checkpoint, load_first
from mlpkit.folders.film_file import Film, read_film
from mlpkit.folders.find_run import find_checkpoints
from mlpkit.folders.metrics_file import read_metrics
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.trust import Trust
from mlpkit.plots.film_page import film_page
from mlpkit.plots.film_scene import MOST_UNITS, Scene, make_scene, thinned
from mlpkit.plots.film_view import View, view_of
from mlpkit.plots.film_words import film_words

PAGE_BYTES = 3_000_000  # of the numbers in a page, which takes a third more for them
MOVIE_FRAMES = 600  # drawn pictures of single runs: matplotlib takes some 50 ms for each
_FIT_POINTS = 160
Loaded = dict[str, tuple[Dataset, View]]  # by the config of the dataset
_SIZES = ((1, 72), (4, 48), (16, 36))  # most runs, points along each axis of a surface


def make_film(runs: Mapping[Path, str], ending: str, trust: Trust, note: Callable[[str], None]) -> bytes:
    """Return the film of some runs.

    Args:
        runs: the run folders with their labels.
        ending: .html, .gif or .mp4.
        trust: whether the runs are the user's own or foreign.
        note: called with each warning.

    Raises:
        ConfigError: a run has no film, or several targets.
        DataError: a run or a film is damaged; of several, all are.
        WriteError: ffmpeg failed.
    """
    loaded: Loaded = {}
    scenes, first, problem = [], None, None
    for path, label in runs.items():
        try:
            dataset, predictor, scene = _make_scene(path, label, len(runs), ending, loaded, trust, note)
        except DataError as error:  # such as a run of a sweep that failed before its first checkpoint
            if len(runs) > 1:
                note(f"left out: {error}")
            problem = error
            continue
        scenes.append(scene)
        first = first or (dataset, predictor)
    if first is None:
        assert problem is not None
        raise problem
    words = film_words(scenes, *first)
    if ending == ".html":
        return film_page(scenes, words).encode()
    from mlpkit.plots.movie import draw_movie

    return draw_movie(scenes, words, ending)


def _make_scene(
    path: Path,
    label: str,
    runs: int,
    ending: str,
    loaded: Loaded,
    trust: Trust,
    note: Callable[[str], None],
) -> tuple[Dataset, Predictor, Scene]:
    """Return the dataset, the model and the scene of one of several runs; `loaded` keeps datasets."""
    folder = RunFolder(path)
    if not folder.film.exists():
        raise ConfigError(no_film(path))
    checkpoint, stored = load_first(find_checkpoints(path, "last"), note, trust=trust)
    predictor = make_predictor(replace(stored, temperature=1.0))
    key = stored.config.dataset.model_dump_json()
    if key not in loaded:
        dataset = load_matching(stored.config.dataset, stored, checkpoint, note, trust)
        loaded[key] = dataset, view_of(dataset, predictor.network)
    dataset, view = loaded[key]
    size = next(size for most, size in _SIZES if runs <= most)
    points = _FIT_POINTS if view.kind == "fit" else size
    bytes_of_frame = (4 * points if view.kind == "fit" else points**2) + 12 * MOST_UNITS
    most = PAGE_BYTES // (runs * bytes_of_frame) if ending == ".html" else MOVIE_FRAMES // (5 + runs)
    film = thinned(_to_the_end(read_film(folder.film), stored, predictor), most)
    lines = read_metrics(folder.metrics) if folder.metrics.exists() else []
    best = stored.state.progress.best_epoch or None
    try:
        return dataset, predictor, make_scene(label, view, predictor, film, points, lines, best)
    except DataError as error:
        raise DataError(f"{folder.film}: {error}") from None


def _to_the_end(film: Film, stored: Checkpoint, predictor: Predictor) -> Film:
    """Return the film with the last checkpoint's weights as its last frame, if it is later."""
    progress, weights = stored.state.progress, predictor.network.state_dict()
    fits = all(name in weights and weights[name].shape == t.shape[1:] for name, t in film.tensors.items())
    if progress.epoch <= film.epochs[-1] or progress.batch or not fits:
        return film
    tensors = {
        name: np.concatenate((frames, weights[name].float().numpy()[None]))
        for name, frames in film.tensors.items()
    }
    return Film([*film.epochs, progress.epoch], tensors)
