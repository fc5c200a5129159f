"""Reads JSON tables: JSON lines, or one document of records or columns."""

import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow
import pyarrow.json

from mlpkit.config.problems import plural, show, spell
from mlpkit.data.pandas_json import from_pandas
from mlpkit.data.table_text import TableText
from mlpkit.errors import DataError

LARGEST_DOCUMENT = 256 << 20  # bytes; as Python objects they take ten times as much
LONGEST = 4 << 20  # bytes of a line
FEW = 100  # rows for which pyarrow's reader would take most of its time to start
DEEPEST = 100  # a line with more opening brackets is checked before pyarrow reads it; a row has one

NESTED = "lists or objects in it"

_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text"}
_EXAMPLE = '{"age": 41, "city": "Oslo"}'


def read_jsonl(text: TableText) -> pyarrow.Table:
    """Return the table in a text with one JSON object on each line.

    Raises:
        DataError: the text is something else.
    """
    return _read_lines(text, lambda line: f"{text.name}:{line}")


def read_json(text: TableText) -> pyarrow.Table:
    """Return the table in one JSON document, in any of the layouts that pandas writes.

    Raises:
        DataError: the document is not a table.
    """
    with text.open(text.encoding()) as stream:
        content = stream.read(LARGEST_DOCUMENT + 1)
        while len(content) <= LARGEST_DOCUMENT and (more := stream.read(LARGEST_DOCUMENT)):
            content += more
    if len(content) > LARGEST_DOCUMENT:
        raise DataError(f"{text.name}: larger than {LARGEST_DOCUMENT >> 20} MB; write it as .jsonl or .csv")
    try:
        records = list(
            _records(
                from_pandas(json.loads(content, object_pairs_hook=reject_repeated_keys), (), text.name),
                text.name,
            )
        )
        if len(records) <= FEW and (table := _plain_table(records)) is not None:
            return table
        lines = "\n".join(json.dumps(record) for record in records)
    except RecursionError:
        raise DataError(f"{text.name}: nested too deep for a table; correct it") from None
    except ValueError as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(f"{text.name}{line}: not valid JSON ({_reason(error)}); correct it") from None
    if not records:
        raise DataError(f"{text.name}: no rows; a table has a line for each")
    return _read_lines(TableText(text.name, content=lines.encode()), lambda row: f"{text.name}: row {row}")


def _plain_table(records: Sequence[Mapping[str, Any]]) -> pyarrow.Table | None:
    """Return the table of some rows as pyarrow's reader does; None if only that can say what they are."""
    columns: dict[str, pyarrow.Array] = {}
    for name in dict.fromkeys(name for record in records for name in record):
        values = [record.get(name) for record in records]
        kinds = {type(value) for value in values if value is not None}
        if kinds <= {int, float}:
            kind = pyarrow.float64() if float in kinds else pyarrow.int64() if kinds else pyarrow.null()
        elif kinds == {bool}:
            kind = pyarrow.bool_()
        elif kinds == {str} and not any(value and may_be_date(value) for value in values):
            kind = pyarrow.string()
        else:
            return None
        if float in kinds and not all(map(math.isfinite, (value for value in values if value is not None))):
            return None
        try:
            columns[name] = pyarrow.array(values, kind)
        except (pyarrow.ArrowException, OverflowError, UnicodeError):
            return None
    return pyarrow.table(columns) if columns else None


def is_document(start: bytes) -> bool:
    """Whether JSON with this beginning is one document rather than JSON lines."""
    first = start.lstrip()[:1]
    if first != b"{":
        return True
    try:
        json.loads(start.lstrip().split(b"\n", 1)[0])
    except (ValueError, RecursionError):
        return True
    return b"\n" not in start.strip()


def _records(content: Any, name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a document."""
    if isinstance(content, dict) and content and all(isinstance(v, list) for v in content.values()):
        if len({len(column) for column in content.values()}) > 1:
            raise DataError(f"{name}: its columns have different lengths; give each as many values")
        content = [dict(zip(content, row, strict=True)) for row in zip(*content.values(), strict=True)]
    width = 0
    for number, record in enumerate(content if isinstance(content, list) else [content], 1):
        if isinstance(record, list):
            width = width or len(record)
            if len(record) != width:
                raise DataError(
                    f"{name}: row {number}: {plural(len(record), 'value')}, "
                    f"the first row has {width}; correct it"
                )
            record = {f"c{index}": value for index, value in enumerate(record, 1)}
        if not isinstance(record, dict):
            raise DataError(f"{name}: row {number}: {show(record)} is not a row; write it like {_EXAMPLE}")
        yield record


def _read_lines(text: TableText, locate: Callable[[int], str]) -> pyarrow.Table:
    for number, line in _lines(text):
        refuse_deep(line, locate(number))
    try:
        with text.open(text.encoding()) as stream:
            table = pyarrow.json.read_json(stream, pyarrow.json.ReadOptions(block_size=LONGEST))
        if not has_nested(table.schema):
            return table
        reason = NESTED
    except pyarrow.ArrowException as error:
        reason = str(error)
    raise explained(text, reason, locate)


def refuse_deep(line: bytes, location: str) -> None:
    """Check a line on which pyarrow would crash without a message: a value nested thousands of levels deep.

    Raises:
        DataError: the line is not a row.
    """
    if line.count(b"{") + line.count(b"[") > DEEPEST:
        _check(line, {}, location)


def has_nested(schema: pyarrow.Schema) -> bool:
    """Whether a column holds lists or objects."""
    return any(pyarrow.types.is_nested(kind) for kind in schema.types)


def explained(text: TableText, reason: str, locate: Callable[[int], str]) -> DataError:
    """Return the error of a text that is not a table: that of its first line that is not a row. Slow.

    Args:
        text: the text.
        reason: pyarrow's, if no line is wrong.
        locate: names a line, counted from 1.
    """
    kinds: dict[str, str] = {}
    try:
        for number, line in _lines(text):
            _check(line, kinds, locate(number))
    except DataError as error:
        return error
    return DataError(f"{text.name}: not a table ({show(reason)}); correct it")


def _lines(text: TableText) -> Iterator[tuple[int, bytes]]:
    with text.open(text.encoding()) as stream:
        for number, line in enumerate(io.BufferedReader(stream), 1):
            if line.strip():
                yield number, line


def _check(line: bytes, kinds: dict[str, str], location: str) -> None:
    """Refuse a line that is not a row of the table.

    Args:
        line: the line.
        kinds: the kind of values that earlier rows have in each column; updated with this row.
        location: the name of the line in errors.

    Raises:
        DataError: the line is not a row.
    """
    try:
        record = json.loads(line, object_pairs_hook=reject_repeated_keys)
    except RecursionError:
        raise DataError(f"{location}: nested too deep for a table; correct it") from None
    except ValueError as error:
        raise DataError(f"{location}: not valid JSON ({_reason(error)}); correct the line") from None
    if not isinstance(record, dict):
        raise DataError(f"{location}: {show(record)} is not a row; write it like {_EXAMPLE}")
    for name, value in record.items():
        cell = f"{location}: column {spell(name)}"
        if value is None:
            continue
        if isinstance(value, list | dict):
            what = "a list" if isinstance(value, list) else "an object"
            raise DataError(f"{cell}: {what}; write a column for each value in it")
        kind = _KINDS[type(value)]
        if kinds.setdefault(name, kind) != kind:
            raise DataError(
                f"{cell}: {show(value)} is {kind}, earlier rows have {kinds[name]}; write one "
                "kind, and null for missing values"
            )
        if isinstance(value, float) and math.isinf(value):
            raise DataError(f"{cell}: not a finite number; correct it")


def _reason(error: ValueError) -> str:
    return f"{error.msg}: column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)


def may_be_date(text: str) -> bool:
    """Whether pyarrow's reader may take a text for a date."""
    return text[4:5] == "-"


def reject_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of some keys and values, for `json.loads`.

    Raises:
        ValueError: a key appears twice.
    """
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key appears twice")
    return content
