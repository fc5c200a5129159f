"""A classifier's probabilities on each split, from which loggers draw precision-recall curves."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from mlpkit.analysis.predict import Predictor, predictor_of
from mlpkit.config.logger import Probabilities
from mlpkit.engines.experiment import Experiment

MOST_CLASSES = 20  # that get a curve; later ones get none


def probabilities_of(experiment: Experiment, splits: Sequence[str]) -> Mapping[str, Probabilities]:
    """Return a classifier's probabilities by `class/split`; empty for a regression.

    Of two classes only the second is returned, by `split`; of many, the first MOST_CLASSES.
    """
    predictor, dataset = predictor_of(experiment), experiment.dataset.shown()
    if predictor.task.probabilities is None:
        return {}
    found: dict[str, Probabilities] = {}
    for split in splits:
        rows = dataset.splits[split]
        probabilities = predictor.decode(predictor.on(rows).outputs(rows.inputs)).probabilities
        assert probabilities is not None
        for name, column, positive in _classes(predictor, probabilities, rows.targets):
            named = f"{name}/{split}" if name else split
            found[named] = Probabilities(column.double().numpy(), positive.numpy())
    return found


def _classes(
    predictor: Predictor, probabilities: Tensor, targets: Tensor
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield each class's name, its probabilities, and which rows belong to it; of two the second, unnamed."""
    schema = predictor.input_schema
    if schema.task == "multilabel":
        for index, name in enumerate(schema.targets[:MOST_CLASSES]):
            yield name, probabilities[:, index], targets[:, index] == 1
    elif len(schema.classes) == 2:
        yield "", probabilities[:, 1], targets == 1
    else:
        for index, name in enumerate(schema.classes[:MOST_CLASSES]):
            yield name, probabilities[:, index], targets == index
