"""A trained model as a Python object."""

import copy
import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpkit.analysis.novelty import Novelty, not_stored
from mlpkit.analysis.predict import Predictor, members_of
from mlpkit.analysis.predictions import Predictions
from mlpkit.config.problems import plural
from mlpkit.deploy.frames import features_of
from mlpkit.errors import DataError
from mlpkit.models.torch_network import Network, count_parameters


class Model:
    """Predicts from raw rows, as `mlpkit predict` does: missing values, categories and scaling included.

    Attributes:
        source: the checkpoint or the checkpoints that it was loaded from.
        messages: notes and warnings of the last call, such as counts of missing and unseen values.
    """

    def __init__(
        self, predictor: Predictor, source: str, missing: Sequence[str], novelty: Novelty | None = None
    ) -> None:
        """Take a predictor, and the texts that stand for a missing value; `mlpkit.load` makes one."""
        self._predictor, self.source, self._missing = predictor, source, tuple(missing)
        self._novelty = novelty
        self.messages: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """regression, binary, multiclass or multilabel."""
        return self._predictor.input_schema.task

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that the model reads, in their order."""
        return self._predictor.input_schema.columns

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the columns that the model predicts."""
        return self._predictor.input_schema.targets

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of `predict_proba`; () for other tasks."""
        return self._predictor.input_schema.classes

    def predict(self, data: Any) -> NDArray[Any]:
        """Return the predictions: class names (rows,), values (rows, targets), or 0 and 1 for multilabel.

        One target gives (rows,).

        Args:
            data: raw rows: a data frame, an Arrow table, a dict of columns, a list of dicts, or an array,
                tensor or list (rows, columns) in the order of `columns`.

        Raises:
            DataError: a column is missing, or a value cannot be used.
        """
        values = self._predictions(data).values.numpy()
        if self.classes:
            names: NDArray[Any] = np.asarray(self.classes)
            return np.asarray(names[values])
        return np.asarray(values[:, 0] if values.shape[1] == 1 else values)

    def predict_proba(self, data: Any) -> NDArray[np.floating[Any]]:
        """Return the probabilities (rows, classes), or (rows, targets) for multilabel.

        Args:
            data: raw rows; see `predict`.

        Raises:
            DataError: the model is a regression, or as in `predict`.
        """
        probabilities = self._predictions(data).probabilities
        if probabilities is None:
            raise DataError(f"{self.source}: a regression has no probabilities; use predict")
        return probabilities.numpy()

    def novelty(self, data: Any) -> NDArray[np.float64]:
        """Return how unlike the training rows each row is (rows,), from 0 to 1; 0.99 and more is unlike them.

        Args:
            data: raw rows; see `predict`.

        Raises:
            DataError: `mlpkit calibrate --novelty` has not stored what rows are compared with, or as in
                `predict`.
        """
        from torch import from_numpy

        if self._novelty is None:
            raise DataError(not_stored(self.source))
        return self._novelty.of(from_numpy(self.features(data))).numpy()

    def to_torch(self) -> Network:
        """Return a copy of the network, with scaling inside: (rows, features) -> logits, or values.

        `features` gives its inputs. Its weights are trained further by any optimizer.

        Raises:
            DataError: the model is an ensemble.
        """
        members = members_of(self._predictor)
        if len(members) > 1:
            raise DataError(f"{self.source}: an ensemble of {len(members)} networks, not one")
        return copy.deepcopy(self._predictor.network)

    def features(self, data: Any) -> "NDArray[np.float32]":
        """Return raw rows as the network's inputs (rows, features): encoded, not yet scaled.

        Args:
            data: raw rows; see `predict`.

        Raises:
            DataError: as in `predict`.
        """
        messages: list[str] = []
        found = features_of(data, self._predictor.input_schema, self._missing, messages.append)
        self.messages = tuple(messages)
        return found.numpy()

    def _predictions(self, data: Any) -> Predictions:
        from torch import from_numpy

        predictions = self._predictor.predict(from_numpy(self.features(data)))
        if (row := predictions.first_not_finite()) is not None:
            raise DataError(
                f"data: row {row + 1}: the prediction is not a finite number, since the inputs are too large "
                "for the model; correct or remove the row"
            )
        return predictions

    def __repr__(self) -> str:
        """Return the model in a line: task, targets, columns, parameters."""
        what = f"{self.task} of {', '.join(self.targets)} from {plural(len(self.columns), 'column')}"
        members = len(members_of(self._predictor))
        several = f"{members} x " if members > 1 else ""
        parameters = count_parameters(self._predictor.network)
        return f"<Model: {what}; {several}{plural(parameters, 'parameter')}; {self.source}>"

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(repr(self))}</code>"
