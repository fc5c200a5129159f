"""Reads JSON lines in portions, with the types that reading them whole would find."""

import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import pyarrow
import pyarrow.json

from mlpkit.data.json_table import LONGEST, NESTED, explained, has_nested, refuse_deep
from mlpkit.data.table_text import TableText
from mlpkit.errors import DataError

# Pairs of types that pyarrow reads as the second one if a column has both.
_WIDER = {
    (pyarrow.int64(), pyarrow.float64()),
    (pyarrow.timestamp("s"), pyarrow.string()),
}


@dataclass(frozen=True)
class JsonPortions:
    """JSON lines whose columns and types are known.

    Attributes:
        text: the text.
        schema: the columns to read.
        names: of all columns.
    """

    text: TableText
    schema: pyarrow.Schema
    names: list[str]

    def tables(self) -> Iterator[pyarrow.Table]:
        """Yield the rows in portions of a few megabytes.

        Raises:
            DataError: the text is not the same any more.
        """
        for block in _blocks(self.text):
            yield _table(self.text, block, self.schema)


def open_jsonl(text: TableText, wanted: Collection[str]) -> JsonPortions:
    """Read JSON lines once, to check them and to find the types of all columns; no rows are kept.

    Args:
        text: the text.
        wanted: the columns to read; those that are not there are skipped.

    Raises:
        DataError: the text is not a table.
    """
    types: dict[str, pyarrow.DataType] = {}
    first = 1  # line of the block
    for block in _blocks(text):
        for number, line in enumerate(block.split(b"\n"), first):
            refuse_deep(line, f"{text.name}:{number}")
        first += block.count(b"\n")
        schema = _table(text, block).schema
        if has_nested(schema):
            raise _explained(text, NESTED)
        for field in schema:
            types[field.name] = _common(text, field.name, types.get(field.name, field.type), field.type)
    if not types:
        raise DataError(f"{text.name}: no rows; a table has a line for each")
    schema = pyarrow.schema([(name, kind) for name, kind in types.items() if name in wanted])
    return JsonPortions(text, schema, list(types))


def _common(text: TableText, name: str, one: pyarrow.DataType, other: pyarrow.DataType) -> pyarrow.DataType:
    if one == other or pyarrow.types.is_null(other) or (other, one) in _WIDER:
        return one
    if pyarrow.types.is_null(one) or (one, other) in _WIDER:
        return other
    raise _explained(text, f"column {name} is {one} first and {other} later")


def _blocks(text: TableText) -> Iterator[bytes]:
    """Yield whole lines, together a few megabytes."""
    with text.open(text.encoding()) as stream:
        lines = io.BufferedReader(stream, LONGEST)
        while block := lines.read(LONGEST):
            if not block.endswith(b"\n"):
                block += lines.readline(LONGEST)
            if block.strip():
                yield block


def _table(text: TableText, block: bytes, schema: pyarrow.Schema | None = None) -> pyarrow.Table:
    """Return the rows of a block; with a schema only its columns."""
    parse = pyarrow.json.ParseOptions(
        explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else "ignore"
    )
    try:
        return pyarrow.json.read_json(
            pyarrow.BufferReader(block), pyarrow.json.ReadOptions(block_size=2 * LONGEST), parse
        )
    except pyarrow.ArrowException as error:
        raise _explained(text, str(error)) from None


def _explained(text: TableText, reason: str) -> DataError:
    return explained(text, reason, lambda line: f"{text.name}:{line}")
