"""Rows with which an export is checked: those of the test split, and rows made from the input schema."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpkit.analysis.matching_data import choose_split, load_matching
from mlpkit.data.column_values import RawColumn
from mlpkit.data.dataset import Dataset, Split
from mlpkit.data.encode import encode
from mlpkit.data.encoder import (
    BooleanColumn,
    CategoryColumn,
    Column,
    DateColumn,
    Linear,
    Log,
    NumberColumn,
    Quantile,
    SmoothClip,
    TableEncoder,
)
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.table_options import TableOptions
from mlpkit.errors import MlpkitError
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.trust import Trust
from mlpkit.models.torch_layers import Scaling
from mlpkit.models.torch_network import Network

MOST_ROWS = 1000
MADE_ROWS = 200
LARGEST = 1e37  # made number: float32 holds it

Value = float | str | None  # a number, a text or a date such as 2024-01-31T10:05:00; None is missing
ODD_DAYS = ("01-01T00:00:00", "02-28T23:59:59", "03-01T00:00:00", "12-31T23:59:59")


@dataclass(frozen=True)
class CheckRows:
    """Raw rows, and what mlpkit's encoder makes of them.

    Attributes:
        columns: the values of each raw column; empty if the model reads no table.
        features: (rows, features) float32.
    """

    columns: dict[str, list[Value]]
    features: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.features)

    def plus(self, other: "CheckRows") -> "CheckRows":
        """Return both."""
        columns = {name: [*values, *other.columns[name]] for name, values in self.columns.items()}
        return CheckRows(columns, np.concatenate((self.features, other.features)))

    def only(self, wanted: NDArray[np.bool_]) -> "CheckRows":
        """Return some of the rows; wanted is (rows,)."""
        columns = {name: list(compress(values, wanted)) for name, values in self.columns.items()}
        return CheckRows(columns, self.features[wanted])


def encode_rows(encoder: TableEncoder, columns: dict[str, list[Value]]) -> CheckRows:
    """Return raw rows with what mlpkit's encoder makes of them."""
    arrays = {spec.column: _to_arrow(spec, columns[spec.column]) for spec in encoder.columns}
    encoded = encode(encoder, pa.table(arrays), "the check", lambda row: f"row {row + 1} of the check")
    return CheckRows(columns, encoded.values)


def _to_arrow(spec: Column, values: Sequence[Value]) -> pa.Array:
    if isinstance(spec, NumberColumn):
        return pa.array(values, pa.float64())
    if isinstance(spec, DateColumn):
        return pa.array(np.array([value or "NaT" for value in values], "datetime64[s]"))
    return pa.array(values, pa.string())


def load_data(stored: Checkpoint, path: Path, trust: Trust, warn: Callable[[str], None]) -> Dataset | None:
    """Return the data that a model was trained on, or None if it is not there any more.

    Args:
        stored: the checkpoint.
        path: where it lies.
        trust: says whether missing files are fetched.
        warn: told why there is none, or that the data has changed.
    """
    try:
        return load_matching(stored.config.dataset, stored, path, warn, trust)
    except MlpkitError as error:
        warn(f"{error}; the export is checked with made rows alone")
        return None


def test_rows(dataset: Dataset, stored: Checkpoint) -> CheckRows:
    """Return up to 1,000 raw test rows of the data that a model was trained on."""
    config, encoder = stored.config.dataset, stored.input_schema.encoder
    _, split = choose_split(dataset, None)
    places = _first(split)
    if encoder is None:
        return CheckRows({}, split.all_inputs[places].numpy())
    assert isinstance(config, TableOptions) and dataset.order is not None
    raw, rows = config.raw(), dataset.order[places].numpy()
    columns = {
        spec.column: _values(spec, column)
        for spec, column in zip(encoder.columns, raw.columns(stored.input_schema.columns, rows), strict=True)
    }
    return encode_rows(encoder, columns)


def _first(split: Split) -> Tensor:
    """Return the places of the first rows of a split in its table, without a copy of the others."""
    if isinstance(split.rows, Tensor):
        return split.rows[:MOST_ROWS]
    return torch.tensor(range(*split.rows.indices(len(split.all_inputs)))[:MOST_ROWS])


def _values(spec: Column, raw: RawColumn) -> list[Value]:
    if isinstance(spec, NumberColumn):
        return [None if np.isnan(number) else number for number in raw.numbers().tolist()]
    if isinstance(spec, DateColumn):
        return [None if np.isnat(moment) else str(moment) for moment in raw.dates(spec.format)]
    places, words = raw.texts()
    return [None if place < 0 else words[place] for place in places.tolist()]


def made_rows(network: Network, schema: InputSchema) -> CheckRows:
    """Return rows across the range of the training rows and beyond, with missing and unseen values."""
    random = np.random.default_rng(0)
    if schema.encoder is not None:
        columns = {spec.column: list(_make(spec, random)) for spec in schema.encoder.columns}
        return encode_rows(schema.encoder, columns)
    shape = (MADE_ROWS, len(schema.features))
    if schema.is_image:
        return CheckRows({}, random.random(shape, np.float32))
    values = random.uniform(-3, 3, shape).astype(np.float32)
    if isinstance(network.scaling, Scaling):
        values = values * network.scaling.std.cpu().numpy() + network.scaling.mean.cpu().numpy()
    return CheckRows({}, values.astype(np.float32))


def _make(spec: Column, random: np.random.Generator) -> Iterator[Value]:
    """Yield made values of one column."""
    pool: Sequence[Value]
    if isinstance(spec, NumberColumn):
        pool = np.clip(_numbers(spec, random), -LARGEST, LARGEST).tolist()
        refuses = spec.fill is None
    elif isinstance(spec, CategoryColumn):
        unseen = () if "unknown" in spec.refuses else ("never seen", "0.25")
        pool, refuses = (*spec.levels, *unseen), "missing" in spec.refuses
    elif isinstance(spec, BooleanColumn):
        pool, refuses = ("yes", "no", "True", "false", "1", "0", "perhaps"), spec.refuses_missing
    else:
        pool, refuses = _dates(spec, random), spec.refuses_missing
    for place in range(MADE_ROWS):
        if not refuses and random.random() < 0.1:
            yield None
        else:  # each of the pool first
            yield pool[place] if place < len(pool) else pool[int(random.integers(len(pool)))]


def _numbers(spec: NumberColumn, random: np.random.Generator) -> NDArray[np.float64]:
    if isinstance(spec.scale, Quantile):
        known = np.asarray(spec.scale.values)
        between = random.uniform(known[0], known[-1], MADE_ROWS // 2)
        return np.concatenate((known[:: max(1, len(known) // 80)], between, known[[0, -1]] * 1.5))
    assert isinstance(spec.scale, Linear | Log | SmoothClip)
    spread = random.uniform(-3, 3, MADE_ROWS) * spec.scale.divide_by + spec.scale.shift
    spread[0] = spec.scale.shift
    if isinstance(spec.scale, Log):
        return np.copysign(np.expm1(np.minimum(np.abs(spread), 85)), spread)  # e⁸⁵ fits into float32
    return spread


def _dates(spec: DateColumn, random: np.random.Generator) -> list[str]:
    scales = {part.name: part.scale for part in spec.parts}
    day, width = 18_000.0, 3_000.0  # around 2019
    if "days" in scales:
        day, width = scales["days"].shift, scales["days"].divide_by * 3
    days = np.clip(random.uniform(day - width, day + width, MADE_ROWS), -60_000, 100_000)
    found = [str(moment) for moment in (days * 86400).astype("datetime64[s]")]
    return [f"{moment[:4]}-{odd}" for moment, odd in zip(found, ODD_DAYS, strict=False)] + found
