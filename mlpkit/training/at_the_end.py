"""What a finished run shows of its best weights: pictures, and probabilities of which loggers draw curves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from mlpkit.analysis.predict import Predictor, predictor_of
from mlpkit.config.logger import Chances
from mlpkit.data.dataset import Dataset
from mlpkit.engines.experiment import Experiment
from mlpkit.folders.metrics_file import read_metrics
from mlpkit.folders.run_folder import RunFolder

MOST_CLASSES = 20  # with a curve each


def draw_run(
    experiment: Experiment, folder: RunFolder, splits: Sequence[str], epoch: int, warn: Callable[[str], None]
) -> Iterator[Path]:
    """Draw a run's pictures; yield each.

    Args:
        experiment: holds the network, with the best weights.
        folder: the run folder.
        splits: the splits that may be scored.
        epoch: the epoch after which the network had these weights.
        warn: called with each warning.
    """
    from mlpkit.plots.pictures import draw_pictures

    dataset = scored_part(experiment.dataset, splits)
    yield from draw_pictures(
        folder, predictor_of(experiment, epoch), dataset, read_metrics(folder.metrics), warn
    )


def chances_of(experiment: Experiment, splits: Sequence[str]) -> Mapping[str, Chances]:
    """Return a classifier's probabilities of each class on each split, by name; empty for a regression."""
    predictor, dataset = predictor_of(experiment), scored_part(experiment.dataset, splits)
    if predictor.task.probabilities is None:
        return {}
    found: dict[str, Chances] = {}
    for split, rows in dataset.splits.items():
        probabilities = predictor.decode(predictor.outputs(rows.inputs)).probabilities
        assert probabilities is not None
        for name, column, positive in _classes(predictor, probabilities, rows.targets):
            chances = column.double().numpy()
            found[f"{name}/{split}" if name else split] = Chances(chances, positive.numpy())
    return found


def scored_part(dataset: Dataset, splits: Sequence[str]) -> Dataset:
    """Return a dataset with only the splits that may be scored."""
    return replace(dataset, splits={name: dataset.splits[name] for name in splits})


def _classes(
    predictor: Predictor, probabilities: Tensor, targets: Tensor
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the name of a class, its probabilities, and which rows are of it; of two classes the second."""
    schema = predictor.input_schema
    if schema.task == "multilabel":
        for index, name in enumerate(schema.targets[:MOST_CLASSES]):
            yield name, probabilities[:, index], targets[:, index] == 1
    elif len(schema.classes) == 2:
        yield "", probabilities[:, 1], targets == 1
    else:
        for index, name in enumerate(schema.classes[:MOST_CLASSES]):
            yield name, probabilities[:, index], targets == index
