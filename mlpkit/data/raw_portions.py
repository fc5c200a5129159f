"""Reads raw rows for a trained model in portions, so that a large table can be predicted in little memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from mlpkit.config.dataset import DatasetConfig
from mlpkit.data.encode import PORTION, ColumnIssues
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.inputs import Inputs, ReadOptions
from mlpkit.data.raw_inputs import encode_rows, missing_texts, read_as_in_training, warn_of_unread
from mlpkit.data.table_file import TableFile, read_portions
from mlpkit.system.paths import expand

PARQUET = (".parquet", ".pq")


def read_raw_portions(
    source: str,
    input_schema: InputSchema,
    config: DatasetConfig,
    options: ReadOptions,
    keep: Sequence[str],
    warn: Callable[[str], None],
) -> Iterator[Inputs]:
    """Yield the rows that `read_raw` returns, in portions; of a parquet file only one is in memory.

    Args:
        source: the file, or `-` for stdin.
        input_schema, config, options, keep: see `read_raw`.
        warn: is called with each warning; with the counts of missing and unseen values after the last row.

    Raises:
        ConfigError, DataError: see `read_raw`.
    """
    issues: list[ColumnIssues] = []
    name = source
    for number, file in enumerate(_portions(source, input_schema, config, options, warn)):
        if number == 0:
            warn_of_unread(file, input_schema, (*keep, config.weight_name()), warn)
        found = encode_rows(
            file, file.locate, input_schema, options, keep, warn if number == 0 else lambda line: None
        )
        issues += found.issues
        name = file.source
        yield Inputs(found.values, kept=found.kept)
    for each in ColumnIssues.summed(issues):
        warn(f"{name}: {each}")


def _portions(
    source: str,
    input_schema: InputSchema,
    config: DatasetConfig,
    options: ReadOptions,
    warn: Callable[[str], None],
) -> Iterator[TableFile]:
    path = expand(source)
    if path.suffix.lower() in PARQUET and path.is_file() and path.stat().st_size > 0:
        yield from read_portions(source, missing_texts(config), PORTION)
        return
    file = read_as_in_training(source, config, options.has_header, input_schema.columns, warn)
    for start in range(0, len(file.table), PORTION):
        table = file.table.slice(start, PORTION)
        yield replace(file, table=table, locations=((len(table), partial(_locate_after, file, start)),))


def _locate_after(file: TableFile, start: int, row: int) -> str:
    """Name a row of a portion that begins at a row of the table."""
    return file.locate(start + row)
