"""The rows of a request: read and encoded as `mlpkit predict --input` does.

Encoding a few rows takes as long as encoding one: those of several requests are encoded together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlpkit.config.problems import plural, show
from mlpkit.data.encode import ColumnIssues, Encoded, encode
from mlpkit.data.encoder import TableEncoder
from mlpkit.data.few_rows import FewRows, read_few
from mlpkit.data.inputs import DEFAULT_OPTIONS, STARTS, ReadOptions, read_content
from mlpkit.data.raw_inputs import read_as_in_training
from mlpkit.data.table_text import TableText
from mlpkit.data.tables import listed
from mlpkit.deploy.limits import MOST_ROWS
from mlpkit.deploy.refusal import Refusal
from mlpkit.deploy.serve_model import Served
from mlpkit.errors import DataError

NAME = "request"  # how errors name the body

SMALL = 16 << 10  # bytes of a body that can be read at once

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


def read_at_once(content: bytes, model: Served, options: ReadOptions) -> Rows | FewRows | None:
    """Return the rows of a body if that takes no time to speak of; None: `read_rows` reads them.

    Raises:
        ConfigError, DataError: as `read_rows`.
    """
    if len(content) > SMALL:
        return None
    encoder = model.predictor.input_schema.encoder
    if encoder is None:
        return read_rows(content, model, options)
    return read_few(content, encoder, model.missing_texts) if options == DEFAULT_OPTIONS else None


def read_rows(content: bytes, model: Served, options: ReadOptions) -> Rows:
    """Return the rows of a body: JSON, csv or, for a model of pictures, a picture file.

    Raises:
        ConfigError: an option does not fit the body.
        DataError: it cannot be read, or does not fit the model.
        Refusal: it has too many rows.
    """
    if not content.strip():
        raise DataError(f"{NAME}: empty; send rows as JSON or csv")
    schema, notes = model.predictor.input_schema, list[str]()
    if schema.encoder is not None:
        return _read_table(content, model, options)
    values = read_content(content, NAME, schema, options, notes.append).values
    _check_count(len(values))
    return Rows(values, tuple(notes))


def _read_table(content: bytes, model: Served, options: ReadOptions) -> Rows:
    notes: list[str] = []
    schema, config = model.predictor.input_schema, model.stored.config.dataset
    if kind := next((kind for start, kind in STARTS.items() if content.startswith(start)), None):
        raise DataError(f"{NAME}: {kind}, but the model reads a table; send rows as JSON or csv")
    options.check(schema)
    text = TableText(NAME, content=content)
    file = read_as_in_training(text, config, options.has_header, schema.columns, notes.append)
    _check_count(file.table.num_rows)
    names = file.table.column_names
    if extra := [
        name for name in names if name not in (*schema.columns, *schema.targets, config.weight_name())
    ]:
        notes.append(f"{NAME}: not read: {listed(extra)}")
    assert schema.encoder is not None
    return _as_rows(encode(schema.encoder, file.table, NAME, file.locate), notes)


def _check_count(rows: int) -> None:
    if rows > MOST_ROWS:
        raise Refusal(413, f"{NAME}: {plural(rows, 'row')}; at most {MOST_ROWS:,} in one, send several")


def _as_rows(encoded: Encoded, notes: Sequence[str] = ()) -> Rows:
    more = (f"{NAME}: {issues}" for issues in encoded.issues)
    return Rows(torch.from_numpy(encoded.values), (*notes, *more), encoded.issues)


def encode_together(requests: Sequence[FewRows], model: Served) -> list[Rows | DataError]:
    """Return the encoded rows of each request, or what is wrong with them.

    All are encoded at once. If something is wrong with one of them, or if a value was not seen in training,
    each is encoded alone to find out which.
    """
    encoder = model.predictor.input_schema.encoder
    assert encoder is not None
    if len(requests) > 1:
        try:
            encoded = FewRows.joined(requests).encode(encoder, NAME, _row)
        except DataError:
            pass
        else:
            if not any(issues.unseen for issues in encoded.issues):
                return list(_split(encoded, requests))
    return [_encode_alone(rows, encoder) for rows in requests]


def _split(encoded: Encoded, requests: Sequence[FewRows]) -> Iterator[Rows]:
    start, values = 0, encoded.values
    for rows in requests:
        counts = ((of.column, rows.columns[of.column].count(None)) for of in encoded.issues)
        issues = tuple(ColumnIssues(name, missing) for name, missing in counts if missing)
        yield _as_rows(Encoded(values[start : start + len(rows)], issues))
        start += len(rows)


def _encode_alone(rows: FewRows, encoder: TableEncoder) -> Rows | DataError:
    try:
        return _as_rows(rows.encode(encoder, NAME, _row))
    except DataError as error:
        return error


def _row(row: int) -> str:
    return f"{NAME}: row {row + 1}"


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
