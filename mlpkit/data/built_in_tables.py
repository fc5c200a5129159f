"""scikit-learn's small real tables, which need no download."""

from collections.abc import Mapping

import pyarrow as pa
from sklearn import datasets

from mlpkit.data.arrow_table import normalize
from mlpkit.data.raw_table import RawTable


def built_in(name: str, target: str, options: Mapping[str, bool]) -> RawTable:
    """Return one of scikit-learn's tables, with the names of its columns and classes.

    Args:
        name: the name of scikit-learn's function without load_; errors name the table so.
        target: the name of the target column.
        options: arguments of scikit-learn's function.
    """
    bunch = getattr(datasets, f"load_{name}")(**options)
    columns = {str(column): bunch.data[:, index] for index, column in enumerate(bunch.feature_names)}
    columns[target] = bunch.target_names[bunch.target] if "target_names" in bunch else bunch.target
    return RawTable(normalize(pa.table(columns), (), name), name, lambda row: f"{name}: row {row + 1}")
