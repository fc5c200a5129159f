"""How unlike the training rows an input is.

The distance of a row is that to the 5th nearest training row, after the model's scaling of the inputs. The
training rows have such distances too, each to the others. The novelty of a row is the share of training rows
whose distance is smaller: a new row of the same kind is as likely to have any value from 0 to 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mlpkit.analysis.intervals import wilson
from mlpkit.analysis.matching_data import check_common, load_common
from mlpkit.analysis.predict import Predictor
from mlpkit.config.problems import plural
from mlpkit.data.dataset import Split
from mlpkit.data.randomness import generator
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.trust import Trust

LIMIT = 0.99  # rows with at least this novelty are unlike the training rows
NEAREST = 5  # the training row that counts; the first may be an outlier as well
_MOST_ROWS = 5_000  # training rows that are compared with; drawn at random if there are more
_MOST_VALUES = 1_000_000  # of these rows together; 4 MB of a checkpoint
_BLOCK = 1024  # rows whose distances are computed at once
_NAMED = 5  # rows that a warning names
_WAY = "store it where the training data is: mlpkit calibrate RUN --novelty"


@dataclass(frozen=True)
class Novelty:
    """The training rows that others are compared with.

    Attributes:
        predictor: scales the inputs.
        rows: (rows, features) the training rows, scaled, float64.
        distances: (rows,) the distance of each to the others, ascending.
    """

    predictor: Predictor
    rows: Tensor
    distances: Tensor

    def of(self, inputs: Tensor) -> Tensor:
        """Return the novelty (rows,) of raw inputs (rows, features)."""
        place = min(NEAREST, len(self.rows) - 1)
        found = _distances(self.predictor.scaled(inputs).double(), self.rows, place)
        return torch.searchsorted(self.distances, found).double() / len(self.rows)

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds; `stored_novelty` is the inverse."""
        return {"rows": self.rows.to(self.predictor.network.dtype), "distances": self.distances}


def fit_novelty(predictor: Predictor, train: Split, seed: int) -> Novelty:
    """Return what compares rows with those of training.

    Args:
        predictor: scales the inputs.
        train: the training rows.
        seed: draws some of them if there are very many.

    Raises:
        ConfigError: there is only one training row.
    """
    if len(train) < 2:
        raise ConfigError("--novelty: the run has one training row, which has no distance to others")
    inputs = train.inputs
    most = min(_MOST_ROWS, _MOST_VALUES // inputs.shape[1])
    if len(inputs) > most:
        inputs = inputs[torch.randperm(len(inputs), generator=generator(seed, "novelty"))[:most]]
    rows = predictor.scaled(inputs).double()
    # The nearest of all rows is the row itself, so the one that counts comes one place later.
    place = min(NEAREST, len(rows) - 1) + 1
    return Novelty(predictor, rows, _distances(rows, rows, place).sort().values)


def novelty_of(
    members: Sequence[tuple[Path, Checkpoint]],
    predictor: Predictor,
    trust: Trust,
    warn: Callable[[str], None],
) -> Novelty:
    """Return what compares rows with the training rows of a model.

    Args:
        members: the path and the checkpoint of each run of the model.
        predictor: the model.
        trust: says whether missing files are downloaded.
        warn: called with a line if the data is not what the model was trained on.

    Raises:
        ConfigError: the members were trained on different rows.
    """
    if (found := stored_novelty(members, predictor)) is not None:
        check_common(members, "--novelty")
        return found
    try:
        dataset = load_common(members, "--novelty", warn, trust)
    except DataError as error:
        raise DataError(f"--novelty: needs the training rows: {error}; or {_WAY}") from None
    return fit_novelty(predictor, dataset.splits["train"], members[0][1].config.seed)


def stored_novelty(members: Sequence[tuple[Path, Checkpoint]], predictor: Predictor) -> Novelty | None:
    """Return what a checkpoint of a model holds; None if it holds nothing.

    Raises:
        DataError: no row can be compared with it, in a checkpoint that is foreign or was changed.
    """
    path, found = members[0][0], members[0][1].novelty
    if not found:
        return None
    rows, distances = found["rows"].double(), found["distances"]
    is_sorted = bool((distances.diff() >= 0).all())
    if len(rows) < 2 or not is_sorted or not (rows.isfinite().all() and distances.isfinite().all()):
        raise DataError(
            f"{path}: no row can be compared with the training rows that it holds; store them anew with "
            "mlpkit calibrate RUN --novelty, or remove them with --novelty --remove"
        )
    return Novelty(predictor, rows, distances)


def not_stored(source: str) -> str:
    """Return an error text for a model whose checkpoint holds nothing."""
    return f"{source}: does not hold what rows are compared with; {_WAY}"


def refuse_training_rows(name: str | None, rows: Split | None) -> None:
    """Refuse a split of training rows, which are among those that they would be compared with.

    Raises:
        ConfigError: it is one.
    """
    if name == "train" or (rows is not None and rows.folds):
        raise ConfigError(
            f"--novelty: compares rows with those of training, and --split={name} holds such rows; name "
            "others, such as --split test"
        )


def describe_rate(novelty: Tensor) -> str:
    """Return how many rows are unlike the training rows, with a 95 % interval of their share."""
    unlike = int((novelty >= LIMIT).sum())
    share, (low, high) = unlike / len(novelty), wilson(unlike, len(novelty))
    return (
        f"novelty: {unlike:,} of {plural(len(novelty), 'row')} unlike the training rows: {share:.1%} "
        f"(95 % {low:.1%} to {high:.1%}); of rows like them 1 % would be"
    )


class UnlikeRows:
    """Counts the rows that are unlike the training rows, and names the first of them."""

    def __init__(self) -> None:
        """Begin with no row."""
        self._rows, self._count, self._named = 0, 0, list[str]()

    def add(self, novelty: Tensor, names: Sequence[str]) -> None:
        """Add the next rows; without names they are numbered."""
        places = (novelty >= LIMIT).nonzero()[:, 0].tolist()
        shown = places[: _NAMED - len(self._named)]
        self._named += [names[place] if names else f"row {self._rows + place + 1}" for place in shown]
        self._rows, self._count = self._rows + len(novelty), self._count + len(places)

    def warning(self) -> str:
        """Return a warning; "" if there is no such row."""
        if not self._count:
            return ""
        more = f" and {self._count - _NAMED:,} more" if self._count > _NAMED else ""
        return (
            f"warning: {self._count:,} of {plural(self._rows, 'row')} unlike the training rows "
            f"(novelty ≥ {LIMIT:g}): {', '.join(self._named)}{more}"
        )


def _distances(rows: Tensor, others: Tensor, place: int) -> Tensor:
    """Return the distance (rows,) of each row to the one of `others` at a place from the nearest, from 1."""
    parts = [torch.cdist(part, others).kthvalue(place, 1).values for part in torch.split(rows, _BLOCK)]
    return torch.cat(parts)
