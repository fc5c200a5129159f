"""The first pass over a table that is larger than memory: counts rows, collects a sample and the targets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlpkit.config.problems import show, spell
from mlpkit.data.column_values import RawColumn
from mlpkit.data.dataset import SPLIT_OF_WORD
from mlpkit.data.disk_source import Portion, Source
from mlpkit.data.permutation import Permutation
from mlpkit.data.table_file import joined
from mlpkit.data.table_targets import MOST_CLASSES, Targets, find_targets, target_columns
from mlpkit.errors import DataError

MOST_SAMPLED = 100_000  # rows
NUMBERS = 1 << 48  # from which each row of the sample draws one

Rows = NDArray[np.int64]


@dataclass
class Scan:
    """What the first pass has found.

    Attributes:
        counts: the number of rows with a target, by group; see `groups_of`.
        left_out: the number of rows without one.
        sample: rows of the group train at random, with a target.
        numbers: the number of each of them in the table.
        ranks: the place of each of them in that group.
        words: the different values of each target, as text; not all of them if they are very many.
    """

    counts: dict[str, int] = field(default_factory=dict)
    left_out: int = 0
    sample: pa.Table | None = None
    numbers: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    ranks: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    words: list[dict[str, None]] = field(default_factory=list)


def scan(source: Source, targets: Sequence[str], split_column: str | None, seed: int, most: int) -> Scan:
    """Read all rows once.

    Args:
        source: the table.
        targets: the names of the target columns.
        split_column: the column that names each row's split, or None.
        seed: of the sample.
        most: the most rows of the sample.

    Raises:
        ConfigError: a column does not exist.
        DataError: a file cannot be read, or no row has a target.
    """
    found, draw = Scan(words=[{} for _ in targets]), Permutation(NUMBERS, seed, "sample")
    tables, parts, limit = list[pa.Table](), list[list[Rows]](), NUMBERS
    for portion, known, groups in known_rows(source, targets, split_column):
        found.left_out += len(portion.file.table) - len(known)
        for words, column in zip(found.words, portion.columns(targets), strict=True):
            if len(words) <= 2 * MOST_CLASSES:
                words |= dict.fromkeys(column.texts()[1])
        for name, own in groups:
            before = found.counts.get(name, 0)
            found.counts[name] = before + len(own)
            if name == "train":
                numbers = portion.first + known[own]
                taken = np.flatnonzero((drawn := draw(numbers)) < limit)
                tables.append(portion.file.table.take(known[own[taken]]))
                parts.append([drawn[taken], numbers[taken], before + taken])
        if sum(map(len, tables)) > 2 * most:
            tables, parts = _fewest(tables, parts, most)
            limit = int(parts[0][0].max())
    if not found.counts:
        raise DataError(f"{source.title}: no row has a value of the target {spell(targets[0])}")
    if tables:
        (found.sample,), ((_, found.numbers, found.ranks),) = _fewest(tables, parts, most)
    return found


def known_rows(
    source: Source, targets: Sequence[str], split_column: str | None
) -> Iterator[tuple[Portion, Rows, list[tuple[str, Rows]]]]:
    """Yield each portion, its rows that have all targets, and which of these are in which group.

    A group is a split whose rows are known: by its file, or by a column that names it. Else all rows are in
    the group train, which is split at random.

    Raises:
        DataError: a value of the column names no split.
    """
    for portion in source.portions():
        columns = target_columns(portion.file.table, targets, portion.file.source, portion.file.locate)
        known = np.flatnonzero(~np.logical_or.reduce([column.missing for column in columns]))
        if split_column is None:
            yield portion, known, [(portion.split, np.arange(len(known)))] if len(known) else []
            continue
        (column,) = portion.columns([split_column], known)
        yield portion, known, _by_word(column)


def find_all_targets(source: Source, found: Scan, names: Sequence[str], wanted: str) -> Targets:
    """Infer the task and the classes: from all different values of the targets, or from the sample.

    Args:
        source: the table.
        found: the first pass.
        names: of the targets.
        wanted: auto, regression, classification or multilabel.

    Raises:
        ConfigError, DataError: see `find_targets`.
    """
    if all(len(words) <= MOST_CLASSES for words in found.words):
        most = max(map(len, found.words))
        columns = []
        for name, words in zip(names, found.words, strict=True):
            texts = [*words, *[next(iter(words))] * (most - len(words))] * 3  # so that none is a name of rows
            columns.append(RawColumn(name, pa.chunked_array([texts]), source.title, lambda row: source.title))
        return find_targets(columns, wanted)
    assert found.sample is not None
    numbers = found.numbers
    columns = target_columns(
        found.sample, names, source.title, lambda row: f"{source.title}: row {numbers[row] + 1}"
    )
    return find_targets(columns, wanted)


def _by_word(column: RawColumn) -> list[tuple[str, Rows]]:
    """Return the rows of each split that the column names."""
    if len(bad := np.flatnonzero(column.missing)):
        raise column.error(int(bad[0]), "no value, and dataset.split needs one; fill it in or remove the row")
    codes, words = column.texts()
    groups: dict[str, list[int]] = {}
    for code, word in enumerate(words):
        if word.lower() not in SPLIT_OF_WORD:
            row = int(np.flatnonzero(codes == code)[0])
            raise column.error(row, f"{show(word)} is not a split; write train, val or test")
        groups.setdefault(SPLIT_OF_WORD[word.lower()], []).append(code)
    return [(name, np.flatnonzero(np.isin(codes, own))) for name, own in groups.items()]


def _fewest(
    tables: list[pa.Table], parts: list[list[Rows]], most: int
) -> tuple[list[pa.Table], list[list[Rows]]]:
    """Keep the rows that have drawn the lowest numbers, in the order of the table."""
    columns = [np.concatenate(values) for values in zip(*parts, strict=True)]
    kept = np.sort(np.argsort(columns[0], kind="stable")[:most])
    return [joined(tables).take(kept)], [[values[kept] for values in columns]]


def sample_rows(memory: int, columns: int) -> int:
    """Return how many rows the sample may have; 32 bytes a value are enough for most."""
    return max(1000, min(MOST_SAMPLED, memory // 16 // (32 * max(1, columns))))
