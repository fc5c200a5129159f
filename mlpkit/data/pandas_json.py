"""Reads the layouts of JSON that pandas' `DataFrame.to_json` writes."""

from collections.abc import Sequence
from typing import Any

from mlpkit.config.problems import plural, show
from mlpkit.errors import DataError


def from_pandas(content: Any, features: Sequence[str], source: str) -> Any:
    """Convert a table that pandas wrote to an object of columns or a list of rows; return all else unchanged.

    It converts the layouts (`orient`) split, table, columns and index; records and values are lists of rows
    already.

    Args:
        content: the parsed JSON.
        features: the columns that the model reads; empty if they are not known.
        source: the name of the file in errors.

    Raises:
        DataError: columns or rows have different lengths.
    """
    if not isinstance(content, dict) or not content:
        return content
    names, rows, schema = content.get("columns"), content.get("data"), content.get("schema")
    if isinstance(rows, list) and isinstance(names, list) and set(content) <= {"columns", "index", "data"}:
        return _from_split(names, rows, source)
    if isinstance(rows, list) and isinstance(schema, dict):
        return _from_table(rows, schema, features)
    if all(isinstance(value, dict) for value in content.values()):
        first = next(iter(content.values()))
        if features:
            is_by_row = not set(features) & set(content) and bool(set(features) & set(first))
        else:  # row labels are mostly numbers, column names are not
            is_by_row = all(map(str.isdigit, content)) and not all(map(str.isdigit, first))
        return list(content.values()) if is_by_row else _from_columns(content, list(first), source)
    return content


def _from_split(names: list[Any], rows: list[Any], source: str) -> list[dict[str, Any]]:
    columns = [name if isinstance(name, str) else show(name) for name in names]
    if len(set(columns)) < len(columns):
        raise DataError(f"{source}: a column appears twice; keep one of them")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(columns):
            raise DataError(
                f"{source}: row {number}: {show(row)} is not a list of {plural(len(columns), 'value')}"
            )
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _from_table(rows: list[Any], schema: dict[str, Any], features: Sequence[str]) -> list[Any]:
    """Return the rows without pandas' index columns."""
    keys = schema.get("primaryKey")
    labels = [key for key in keys if key not in features] if isinstance(keys, list) else []
    return [
        {key: value for key, value in row.items() if key not in labels} if isinstance(row, dict) else row
        for row in rows
    ]


def _from_columns(content: dict[str, Any], labels: list[str], source: str) -> dict[str, list[Any]]:
    if any(set(column) != set(labels) for column in content.values()):
        raise DataError(f"{source}: its columns have different rows; give each as many values")
    return {name: [column[label] for label in labels] for name, column in content.items()}
