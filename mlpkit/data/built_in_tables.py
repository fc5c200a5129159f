"""scikit-learn's real tables that need no download."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from mlpkit.data.raw_table import RawTable


def built_in(name: str, load: Callable[[], Any], target: str) -> RawTable:
    """Return one of scikit-learn's tables, with the names of its columns and classes.

    Args:
        name: how errors call it.
        load: scikit-learn's function.
        target: the name of the target column.
    """
    bunch = load()
    columns = {str(column): bunch.data[:, place] for place, column in enumerate(bunch.feature_names)}
    if "target_names" in bunch:
        columns[target] = bunch.target_names[bunch.target]
    else:
        columns[target] = bunch.target
    return RawTable(pa.table(columns), name, lambda row: f"{name}: row {row + 1}")
