"""Reads rows to predict from csv, json and jsonl. Columns are matched by name."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mlpkit.config.problems import plural, show, spell
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.pandas_json import from_pandas
from mlpkit.data.table_format import counts_up
from mlpkit.errors import ConfigError, DataError

LARGEST = 3.4028235e38  # float32

_SEPARATED = re.compile(r"[;\s|]")  # separators other than commas

# float() also reads 1_000, full-width digits, nan and infinity, none of which belong in a data file.
NUMBER = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
_NUMBER = re.compile(NUMBER)

Row = tuple[str, Sequence[Any]]  # its name in errors, such as `rows.csv:3`, and its values


def read_text(
    text: str, source: str, kind: str, input_schema: InputSchema, has_header: bool | None = None
) -> Tensor:
    """Return the inputs (rows, features) in a text.

    Args:
        text: the text.
        source: the name of the text in errors.
        kind: csv, json or jsonl.
        input_schema: the model's columns.
        has_header: whether the first line of a csv holds names; None: inferred.

    Raises:
        ConfigError: has_header is given for another kind.
        DataError: a column or value is missing or extra, a value is not a finite number, or it is not clear
            whether the first line of a csv holds names.
    """
    if has_header is not None and kind != "csv":
        raise ConfigError(f"--{'' if has_header else 'no-'}header: only for csv; {source} is {kind}")
    if "\0" in text:
        raise DataError(f"{source}: holds a NUL byte, which no text has; save it as UTF-8 text")
    if kind == "csv":
        header, rows = _parse_csv(text, source, input_schema, has_header)
    else:
        header, rows = _parse_json(text, source, kind, input_schema)
    return read_rows(rows, match_columns(header, input_schema, source), input_schema, source)


def read_rows(rows: Iterable[Row], columns: Sequence[int], input_schema: InputSchema, source: str) -> Tensor:
    """Return the inputs (rows, features) in rows of strings or numbers.

    Args:
        rows: the rows.
        columns: the index of each feature in a row.
        input_schema: the model's columns.
        source: the name of the table in errors.

    Raises:
        DataError: there are no rows, or a value is not a finite number.
    """
    places = list(zip(columns, input_schema.features, strict=True))
    values = [[_number(row[column], location, name) for column, name in places] for location, row in rows]
    if not values:
        raise DataError(f"{source}: no rows below the column names; add a line for each")
    return torch.tensor(values, dtype=torch.float32)


def match_columns(header: Sequence[str], input_schema: InputSchema, source: str) -> list[int]:
    """Return the index of each of the model's columns in the header. Target columns are ignored.

    Raises:
        DataError: a column is missing, unknown or repeated.
    """
    names, features = list(header), input_schema.features
    if len(set(names)) < len(names):
        raise DataError(f"{source}: the column {show(_repeated(names))} appears twice; keep one of them")
    if missing := [name for name in features if name not in names]:
        commas = "; put commas between the columns" if len(names) == 1 and _SEPARATED.search(names[0]) else ""
        raise DataError(
            f"{source}: columns missing: {listed(missing)}; it has {listed(names)}, "
            f"the model reads {listed(features)}{commas}"
        )
    if extra := [name for name in names if name not in features and name not in input_schema.targets]:
        raise DataError(
            f"{source}: columns that the model does not read: {listed(extra)}; remove them and keep "
            f"{listed(features)} (the target {listed(input_schema.targets)} may stay)"
        )
    return [names.index(name) for name in features]


def listed(names: Iterable[str]) -> str:
    """Join names with commas; a long list is shortened."""
    shown = [spell(str(name)) for name in names]
    few = len(shown) <= 4 or (len(shown) <= 8 and sum(map(len, shown)) <= 300)
    return ", ".join(shown if few else [*shown[:3], "…", shown[-1]]) or "none"


def _parse_csv(
    text: str, source: str, input_schema: InputSchema, has_header: bool | None
) -> tuple[list[str], list[Row]]:
    """Return header and rows."""
    reader = csv.reader(io.StringIO(text, newline=None), strict=True)
    lines: list[tuple[int, list[str]]] = []
    try:
        start = 1
        for row in reader:
            lines.append((start, row))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{source}:{reader.line_num}: not valid csv ({error}); correct it") from None
    while lines and not lines[-1][1]:
        lines.pop()
    if len(lines[0][1] if lines else []) != 1:  # with one column, an empty line is a missing value
        lines = [(number, row) for number, row in lines if row]
    if not lines:
        raise DataError(f"{source}: empty; write a line with {listed(input_schema.features)} and the rows")
    header = [cell.strip() for cell in lines[0][1]]
    if has_header is None:
        has_header = _has_header(header, len(lines), input_schema, source)
    if has_header:
        lines = lines[1:]
    if not has_header or (_are_column_numbers(header) and not set(input_schema.features) <= set(header)):
        if len(header) != len(input_schema.features):
            raise DataError(
                f"{source}: {plural(len(header), 'unnamed column')}; "
                f"the model reads {listed(input_schema.features)}"
            )
        header = list(input_schema.features)
    match_columns(
        header, input_schema, source
    )  # before the widths are checked: with a wrong separator all of them are wrong
    for number, row in lines:
        if len(row or [""]) != len(header):
            raise DataError(
                f"{source}:{number}: {plural(len(row), 'value')} for {plural(len(header), 'column')}; "
                "correct or remove the row"
            )
    return header, [(f"{source}:{number}", row or [""]) for number, row in lines]


def _has_header(first: Sequence[str], lines: int, input_schema: InputSchema, source: str) -> bool:
    """Whether the first line holds names. Numbers are not names, except pandas' column numbers 0, 1, 2, …"""
    if set(input_schema.features) <= set(first) or not all(_NUMBER.fullmatch(cell) for cell in first):
        return True
    if lines > 1 and len(first) == len(input_schema.features) and _are_column_numbers(first):
        raise DataError(
            f"{source}: its first line, {listed(first)}, may be names or a row; choose with --header or "
            "--no-header"
        )
    return False


def _are_column_numbers(cells: Sequence[str]) -> bool:
    """Whether the cells are the numbers of unnamed columns: 0,1,2 or 1,2,3."""
    return cells[0] in ("0", "1") and counts_up(cells)


def _parse_json(text: str, source: str, kind: str, input_schema: InputSchema) -> tuple[list[str], list[Row]]:
    """Return the column names and rows of JSON or JSON lines: objects, lists, or an object of columns.

    It also reads the layouts that pandas' `DataFrame.to_json` writes.
    """
    if kind == "jsonl":
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        records = [(f"{source}:{number}", _load(line, f"{source}:{number}")) for number, line in lines]
    else:
        content = from_pandas(_load(text, source), input_schema.features, source)
        if isinstance(content, dict) and content and all(isinstance(v, list) for v in content.values()):
            if len({len(column) for column in content.values()}) > 1:
                raise DataError(f"{source}: its columns have different lengths; give each as many values")
            rows = enumerate(zip(*content.values(), strict=True), 1)
            return list(content), [(f"{source}: row {number}", row) for number, row in rows]
        rows_or_records = content if isinstance(content, list) else [content]
        records = [(f"{source}: row {number}", record) for number, record in enumerate(rows_or_records, 1)]
    example = "{" + ", ".join(f'"{name}": 0.5' for name in input_schema.features[:2])
    example += ", …}" if len(input_schema.features) > 2 else "}"
    if not records:
        raise DataError(f"{source}: no rows; write a list of objects such as {example}")
    first = records[0][1]
    header = list(first) if isinstance(first, Mapping) else list(input_schema.features)
    found: list[Row] = []
    for location, record in records:
        if isinstance(record, Mapping):
            if set(record) != set(header):
                raise DataError(
                    f"{location}: has the keys {listed(record)}, but the first row has {listed(header)}"
                )
            found.append((location, [record[name] for name in header]))
        elif isinstance(record, list) and len(record) == len(header):
            found.append((location, record))
        else:
            raise DataError(f"{location}: {show(record)} is not a row; write it like {example}")
    return header, found


def _load(text: str, location: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_reject_repeated_keys, parse_int=float)
    except RecursionError:
        raise DataError(f"{location}: not valid JSON (nested too deep); correct it") from None
    except ValueError as error:
        raise DataError(f"{location}: not valid JSON ({error}); correct it") from None


def _reject_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = _repeated([name for name, _ in pairs])
        raise ValueError(f"the key {show(twice)} appears twice")
    return content


def _repeated(names: Sequence[str]) -> str:
    """Return the first name that occurs more than once."""
    counts = Counter(names)
    return next(name for name in names if counts[name] > 1)


def _number(value: object, location: str, column: str) -> float:
    text = value.strip() if isinstance(value, str) else None
    if value is None or text == "":
        raise DataError(f"{location}: column {column}: no value; fill it in or remove the row")
    if text is not None and _NUMBER.fullmatch(text):
        number = float(text)
    elif isinstance(value, float):
        number = value
    else:
        raise DataError(f"{location}: column {column}: {show(value)} is not a plain number such as 0.5")
    if not abs(number) <= LARGEST:
        raise DataError(
            f"{location}: column {column}: {spell(str(value))} is not a finite float32 (at most {LARGEST})"
        )
    return number
