"""Reads rows to predict from csv, json and jsonl, matched to the model's columns by name."""

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
from mlpkit.errors import ConfigError, DataError

LARGEST = 3.4028235e38  # of float32

_SEPARATED = re.compile(r"[;\s|]")  # by something else than commas

# float() also reads 1_000, full-width digits, nan and infinity, none of which belong in a data file.
NUMBER = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
_NUMBER = re.compile(NUMBER)

Row = tuple[str, Sequence[Any]]  # where it stands, as errors say it, and its values


def read_text(
    text: str, source: str, kind: str, input_schema: InputSchema, has_header: bool | None = None
) -> Tensor:
    """Return the inputs (rows, features) in a text.

    Args:
        text: the content.
        source: how errors name it.
        kind: csv, json or jsonl.
        input_schema: the model's columns.
        has_header: whether the first line of a csv holds names; None where that is to be found out.

    Raises:
        ConfigError: has_header is given for another kind.
        DataError: a column or a value is missing, extra or no finite number, or the first line of a csv
            may be names or a row.
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
    """Return the inputs (rows, features) in rows of texts or numbers.

    Args:
        rows: the rows.
        columns: the place of each feature in a row.
        input_schema: the model's columns.
        source: how errors name the whole.

    Raises:
        DataError: there is no row, or a value is no finite number.
    """
    places = list(zip(columns, input_schema.features, strict=True))
    values = [[_number(row[column], where, name) for column, name in places] for where, row in rows]
    if not values:
        raise DataError(f"{source}: no rows below the column names; add a line for each")
    return torch.tensor(values, dtype=torch.float32)


def match_columns(header: Sequence[str], input_schema: InputSchema, source: str) -> list[int]:
    """Return the place of each of the model's columns; the target column may be there, and is not read.

    Raises:
        DataError: a column is missing, extra or there twice.
    """
    names, features = list(header), input_schema.features
    if len(set(names)) < len(names):
        raise DataError(f"{source}: the column {show(_repeated(names))} stands twice; keep one of them")
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
    """Return names in a list of bearable length."""
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
        raise DataError(f"{source}:{reader.line_num}: no line of a csv file ({error}); correct it") from None
    while lines and not lines[-1][1]:
        lines.pop()
    if len(lines[0][1] if lines else []) != 1:  # in a file of one column, an empty line is a missing value
        lines = [(number, row) for number, row in lines if row]
    if not lines:
        raise DataError(f"{source}: empty; write a line with {listed(input_schema.features)} and the rows")
    header = [cell.strip() for cell in lines[0][1]]
    if has_header is None:
        has_header = _has_header(header, len(lines), input_schema, source)
    if has_header:
        lines = lines[1:]
    if not has_header or (_counts_up(header) and not set(input_schema.features) <= set(header)):
        if len(header) != len(input_schema.features):
            raise DataError(
                f"{source}: {plural(len(header), 'unnamed column')}; "
                f"the model reads {listed(input_schema.features)}"
            )
        header = list(input_schema.features)
    match_columns(header, input_schema, source)  # before their values: a wrong separator tears rows apart
    for number, row in lines:
        if len(row or [""]) != len(header):
            raise DataError(
                f"{source}:{number}: {plural(len(row), 'value')} for {plural(len(header), 'column')}; "
                "correct or remove the row"
            )
    return header, [(f"{source}:{number}", row or [""]) for number, row in lines]


def _has_header(first: Sequence[str], lines: int, input_schema: InputSchema, source: str) -> bool:
    """Whether the first of some lines holds names: numbers alone are none, but as pandas counts columns."""
    if set(input_schema.features) <= set(first) or not all(_NUMBER.fullmatch(cell) for cell in first):
        return True
    if lines > 1 and len(first) == len(input_schema.features) and _counts_up(first):
        raise DataError(
            f"{source}: its first line, {listed(first)}, may be names or a row; say which with --header or "
            "--no-header"
        )
    return False


def _counts_up(cells: Sequence[str]) -> bool:
    """Whether they are numbers such as columns without a name are given: 0,1,2 or 1,2,3."""
    return list(cells) in ([str(number + start) for number in range(len(cells))] for start in (0, 1))


def _parse_json(text: str, source: str, kind: str, input_schema: InputSchema) -> tuple[list[str], list[Row]]:
    """Return columns and rows of a list of objects or lists, of an object of columns, or of such lines.

    The layouts that pandas' `DataFrame.to_json` writes are read as well.
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
    for where, record in records:
        if isinstance(record, Mapping):
            if set(record) != set(header):
                raise DataError(f"{where}: has the keys {listed(record)}, the first row {listed(header)}")
            found.append((where, [record[name] for name in header]))
        elif isinstance(record, list) and len(record) == len(header):
            found.append((where, record))
        else:
            raise DataError(f"{where}: {show(record)} is no row; write it like {example}")
    return header, found


def _load(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_reject_repeated_keys, parse_int=float)
    except RecursionError:
        raise DataError(f"{where}: not valid JSON (nested too deep); correct it") from None
    except ValueError as error:
        raise DataError(f"{where}: not valid JSON ({error}); correct it") from None


def _reject_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = _repeated([name for name, _ in pairs])
        raise ValueError(f"the key {show(twice)} stands twice")
    return content


def _repeated(names: Sequence[str]) -> str:
    """Return the first name that stands there more than once."""
    counts = Counter(names)
    return next(name for name in names if counts[name] > 1)


def _number(value: object, where: str, column: str) -> float:
    text = value.strip() if isinstance(value, str) else None
    if value is None or text == "":
        raise DataError(f"{where}: column {column}: no value; fill it in or remove the row")
    if text is not None and _NUMBER.fullmatch(text):
        number = float(text)
    elif isinstance(value, float):
        number = value
    else:
        raise DataError(f"{where}: column {column}: {show(value)} is no plain number such as 0.5")
    if not abs(number) <= LARGEST:
        raise DataError(
            f"{where}: column {column}: {spell(str(value))} is no finite float32 (at most {LARGEST})"
        )
    return number
