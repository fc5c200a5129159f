"""Partial dependence: the mean prediction over all rows when one column has the same value in each of them.

Friedman 2001, "Greedy function approximation". The curves of single rows are those of Goldstein et al. 2015.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpkit.analysis.importance import features_of_columns
from mlpkit.analysis.predict import Predictor, members_of
from mlpkit.analysis.statistics import t_quantile
from mlpkit.config.problems import did_you_mean, spell
from mlpkit.data.encode import encode, unscaled
from mlpkit.data.encoder import BooleanColumn, DateColumn, NumberColumn, TableEncoder
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.tables import listed
from mlpkit.errors import ConfigError

POINTS = 20  # values of a column of numbers
CURVES = 50  # rows whose own curves are kept


@dataclass(frozen=True)
class Dependence:
    """How the predictions depend on one column.

    Attributes:
        column: its name in the raw table.
        values: the values that it was given, numbers or categories.
        outputs: names of the predicted values: the targets of a regression, else the classes or labels,
            whose probabilities are predicted; for two classes only the second.
        mean: (values, outputs), the mean over the rows.
        low: (values, outputs), the lower end of the 95 % interval over the members; None for one network.
        high: the upper end.
        curves: (rows, values, outputs) of some rows.
    """

    column: str
    values: Sequence[float] | Sequence[str]
    outputs: tuple[str, ...]
    mean: Tensor
    low: Tensor | None
    high: Tensor | None
    curves: Tensor

    @property
    def is_number(self) -> bool:
        """Whether the values are numbers."""
        return not isinstance(self.values[0], str)


def partial_dependence(predictor: Predictor, inputs: Tensor, column: str) -> Dependence:
    """Return how the predictions depend on a column.

    A column of numbers takes up to 20 of its quantiles, from 1 to 99 %; one of categories takes each level.
    The interval says where 95 % of newly trained members would lie: mean ± t · their standard deviation.

    Args:
        predictor: the model.
        inputs: (rows, features), the rows whose other columns are kept.
        column: its name in the raw table.

    Raises:
        ConfigError: the model reads no such column, or it holds dates.
    """
    schema = predictor.input_schema
    groups = features_of_columns(schema)
    if column not in groups:
        near = did_you_mean(column, list(groups))
        raise ConfigError(
            f"--column={spell(column)}: the model reads no such column, but {listed(groups)}{near}"
        )
    features = groups[column]
    values, encoded = _grid(schema, column, inputs[:, features])
    given, each = inputs.clone(), []
    for row in encoded:
        given[:, features] = row
        each.append(torch.stack([_predicted(member, given) for member in members_of(predictor)]))
    of_members = torch.stack(each, 2)  # (members, rows, values, outputs)
    averages, low, high = of_members.mean(1), None, None
    mean = averages.mean(0)
    if len(averages) > 1:
        half = t_quantile(len(averages) - 1) * averages.std(0)
        low, high = mean - half, mean + half
    some = torch.linspace(0, len(inputs) - 1, min(len(inputs), CURVES)).long()
    return Dependence(column, values, _outputs(schema), mean, low, high, of_members[:, some].mean(0))


def _grid(
    schema: InputSchema, column: str, features: Tensor
) -> tuple[Sequence[float] | Sequence[str], Tensor]:
    """Return the values that a column is given, and their features (values, features of the column)."""
    if schema.encoder is None:
        found = _quantiles(features[:, 0].double().numpy())
        return found.tolist(), torch.from_numpy(found).to(features.dtype)[:, None]
    spec = next(each for each in schema.encoder.columns if each.column == column)
    if isinstance(spec, DateColumn):
        raise ConfigError(
            f"--column={spell(column)}: holds dates, which are several features; name a column of numbers, "
            "categories or booleans"
        )
    values: Sequence[float] | Sequence[str]
    if isinstance(spec, NumberColumn):
        numbers = features.double().numpy()
        given = numbers[numbers[:, 1] == 0] if spec.flags_missing else numbers
        values = _quantiles(unscaled(given[:, 0], spec.scale)).tolist()
    else:
        values = ("no", "yes") if isinstance(spec, BooleanColumn) else spec.levels
    table = pa.table({column: pa.array(values)})
    encoded = encode(TableEncoder((spec,)), table, "--column", lambda row: f"--column, value {row + 1}")
    return values, torch.from_numpy(encoded.values).to(features.dtype)


def _quantiles(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return up to 20 distinct quantiles; all values if there are no more."""
    distinct = np.unique(values)
    if len(distinct) <= POINTS:
        return distinct
    return np.unique(np.quantile(values, np.linspace(0.01, 0.99, POINTS)))


def _predicted(predictor: Predictor, inputs: Tensor) -> Tensor:
    """Return (rows, outputs) float64, the probabilities or values that are predicted."""
    numbers = predictor.predict(inputs).numbers.double()
    return numbers[:, 1:] if predictor.task.name == "binary" else numbers


def _outputs(schema: InputSchema) -> tuple[str, ...]:
    """Return the names of the columns of `_predicted`."""
    return schema.classes[1:] if schema.task == "binary" else schema.classes or schema.targets
