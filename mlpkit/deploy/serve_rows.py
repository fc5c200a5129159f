"""The rows of a request: read and encoded as `mlpkit predict --input` does.

Encoding a few rows takes as long as encoding one: those of several requests are encoded together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import torch
from torch import Tensor

from mlpkit.analysis.blocks import BLOCK
from mlpkit.config.problems import plural, show
from mlpkit.data.column_values import Locate
from mlpkit.data.encode import ColumnIssues, encode
from mlpkit.data.inputs import STARTS, ReadOptions, read_content
from mlpkit.data.raw_inputs import read_as_in_training
from mlpkit.data.table_text import TableText
from mlpkit.data.tables import listed
from mlpkit.deploy.limits import MOST_ROWS
from mlpkit.deploy.refusal import Refusal
from mlpkit.deploy.serve_model import Served
from mlpkit.errors import DataError

NAME = "request"  # how errors name the body

_YES_OR_NO = {"true": True, "false": False}


@dataclass(frozen=True)
class Rows:
    """The rows of a request.

    Attributes:
        values: (rows, features), as the network reads them.
        notes: what the user should know about how they were read.
        issues: the columns with missing or unseen values.
    """

    values: Tensor
    notes: tuple[str, ...]
    issues: tuple[ColumnIssues, ...] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.values)


@dataclass(frozen=True)
class RawRows:
    """The rows of a request before they are encoded.

    Attributes:
        table: the columns that the model reads, and no others.
        locate: names one of the rows in errors.
        notes: see `Rows`.
    """

    table: pa.Table
    locate: Locate
    notes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.table.num_rows)


def read_rows(content: bytes, model: Served, options: ReadOptions) -> Rows | RawRows:
    """Return the rows of a body: JSON, csv or, for a model of pictures, a picture file.

    A few rows of a table are not encoded yet.

    Raises:
        ConfigError: an option does not fit the body.
        DataError: it cannot be read, or does not fit the model.
        Refusal: it has too many rows.
    """
    notes: list[str] = []
    schema = model.predictor.input_schema
    if not content.strip():
        raise DataError(f"{NAME}: empty; send rows as JSON or csv")
    if schema.encoder is None:
        values = read_content(content, NAME, schema, options, notes.append).values
        rows: Rows | RawRows = Rows(values, tuple(notes))
    else:
        rows = _read_table(content, model, options)
    if len(rows) > MOST_ROWS:
        raise Refusal(413, f"{NAME}: {plural(len(rows), 'row')}; at most {MOST_ROWS:,} in one, send several")
    if isinstance(rows, RawRows) and len(rows) > BLOCK:
        return _encode(rows, model)
    return rows


def _read_table(content: bytes, model: Served, options: ReadOptions) -> RawRows:
    notes: list[str] = []
    schema, config = model.predictor.input_schema, model.stored.config.dataset
    if kind := next((kind for start, kind in STARTS.items() if content.startswith(start)), None):
        raise DataError(f"{NAME}: {kind}, but the model reads a table; send rows as JSON or csv")
    options.check(schema)
    text = TableText(NAME, content=content)
    file = read_as_in_training(text, config, options.has_header, schema.columns, notes.append)
    names = file.table.column_names
    if extra := [
        name for name in names if name not in (*schema.columns, *schema.targets, config.weight_name())
    ]:
        notes.append(f"{NAME}: not read: {listed(extra)}")
    read = [name for name in schema.columns if name in names]
    return RawRows(file.table.select(read), file.locate, tuple(notes))


def _encode(rows: RawRows, model: Served) -> Rows:
    """Encode the rows of one request.

    Raises:
        DataError: a column is missing, or a value cannot be used.
    """
    encoder = model.predictor.input_schema.encoder
    assert encoder is not None
    found = encode(encoder, rows.table, NAME, rows.locate)
    notes = (*rows.notes, *(f"{NAME}: {issues}" for issues in found.issues))
    return Rows(torch.from_numpy(found.values), notes, found.issues)


def encode_together(requests: Sequence[RawRows], model: Served) -> list[Rows | DataError]:
    """Return the encoded rows of each request, or what is wrong with them.

    Requests whose columns have the same types are encoded at once. If something is wrong with one of them, or
    if a value was not seen in training, each is encoded alone to find out which.
    """
    found: list[Rows | DataError | None] = [None] * len(requests)
    by_types: dict[pa.Schema, list[int]] = {}
    for place, rows in enumerate(requests):
        by_types.setdefault(rows.table.schema, []).append(place)
    for places in by_types.values():
        same = [requests[place] for place in places]
        together: Sequence[Rows | DataError] = _of_same_types(same, model) or _each(same, model)
        for place, encoded in zip(places, together, strict=True):
            found[place] = encoded
    return [of for of in found if of is not None]


def _of_same_types(requests: Sequence[RawRows], model: Served) -> list[Rows] | None:
    """Encode requests at once; return None if each must be encoded alone."""
    whole = replace(requests[0], table=pa.concat_tables([rows.table for rows in requests]), locate=str)
    try:
        encoded = _encode(whole, model)
    except DataError:
        return None
    if any(issues.unseen for issues in encoded.issues):
        return None
    split, start = [], 0
    for rows in requests:
        counts = ((of.column, rows.table[of.column].null_count) for of in encoded.issues)
        issues = tuple(ColumnIssues(name, missing) for name, missing in counts if missing)
        notes = (*rows.notes, *(f"{NAME}: {of}" for of in issues))
        split.append(Rows(encoded.values[start : start + len(rows)], notes, issues))
        start += len(rows)
    return split


def _each(requests: Sequence[RawRows], model: Served) -> list[Rows | DataError]:
    found: list[Rows | DataError] = []
    for rows in requests:
        try:
            found.append(_encode(rows, model))
        except DataError as error:
            found.append(error)
    return found


def read_options(query: Mapping[str, str]) -> ReadOptions:
    """Return the options in a URL's query: `header`, `pixels` and `invert`, as those of `mlpkit predict`.

    Raises:
        Refusal: another one is there, or a value is not one of it.
    """
    if unknown := next((name for name in query if name not in ("header", "pixels", "invert")), None):
        raise Refusal(400, f"?{show(unknown)[1:-1]}: unknown; known are header, pixels and invert")
    pixels = query.get("pixels")
    if pixels is not None and not (pixels.isascii() and pixels.isdigit() and 0 < int(pixels[:10]) < 10**9):
        raise Refusal(400, f"?pixels={show(pixels)[1:-1]}: must be the largest possible pixel, such as 255")
    return ReadOptions(
        _flag(query, "header"), None if pixels is None else int(pixels), bool(_flag(query, "invert"))
    )


def _flag(query: Mapping[str, str], name: str) -> bool | None:
    value = query.get(name)
    if value is not None and value not in _YES_OR_NO:
        raise Refusal(400, f"?{name}={show(value)[1:-1]}: must be true or false")
    return None if value is None else _YES_OR_NO[value]
