"""The base of export formats."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpkit.analysis.predict import Predictor
from mlpkit.config.config import Config
from mlpkit.data.input_schema import InputSchema
from mlpkit.deploy.check_rows import CheckRows
from mlpkit.deploy.format_modules import MODULES
from mlpkit.deploy.portable import Portable, make_portable
from mlpkit.version import __version__


@dataclass(frozen=True)
class Source:
    """What is exported.

    Attributes:
        predictor: the model, or an ensemble; its task has the threshold.
        config: of its run, or of the first of several.
        threshold: probability above which a row is labelled as the second class, or has a label.
        name: of the files and of the functions in them.
    """

    predictor: Predictor
    config: Config
    threshold: float = 0.5
    name: str = "model"

    @property
    def schema(self) -> InputSchema:
        """The schema of inputs and outputs."""
        return self.predictor.input_schema

    @property
    def has_threshold(self) -> bool:
        """Whether labels depend on a threshold."""
        return self.schema.task in ("binary", "multilabel")

    @property
    def title(self) -> str:
        """One line that says what the model is."""
        return f"{self.config.model.name} trained on {self.config.dataset.title()} by mlpkit {__version__}"

    def portable(self, format_: str) -> Portable:
        """Return the model as plain data; see `make_portable`."""
        return make_portable(self.predictor, self.config, format_, self.threshold)


@dataclass(frozen=True)
class FilePredictions:
    """What an exported file says of rows.

    Attributes:
        outputs: values (rows, targets), or probabilities (rows, classes or labels).
        labels: (rows,), or (rows, labels) for multilabel; None for a regression.
    """

    outputs: NDArray[Any]
    labels: NDArray[Any] | None = None

    @staticmethod
    def of(found: dict[str, NDArray[Any]]) -> "FilePredictions":
        """Return those of a dict with value, or with probabilities and label."""
        if "value" in found:
            return FilePredictions(np.asarray(found["value"]))
        return FilePredictions(np.asarray(found["probabilities"]), np.asarray(found["label"]))


class Format(ABC):
    """Writes a model in one format, and runs what it has written."""

    @abstractmethod
    def check_runtime(self) -> None:
        """Check that what runs the files is there.

        Raises:
            ConfigError: it is not; the error says how to get it.
        """

    @abstractmethod
    def write(self, source: Source, folder: Path) -> dict[str, Any]:
        """Write the files into an empty folder; return what the manifest says of them.

        Raises:
            ConfigError: the format cannot hold the model.
        """

    def inputs(self, rows: CheckRows, schema: InputSchema) -> CheckRows:
        """Return rows as the format's inputs can hold them."""
        return rows

    @abstractmethod
    def run(self, source: Source, folder: Path, rows: CheckRows) -> FilePredictions:
        """Return what the files in a folder say of rows, in their own runtime.

        Raises:
            DataError: it fails.
        """


def format_of(name: str) -> Format:
    """Return a format by its name, which is one of `MODULES`."""
    found: Format = import_module(f"mlpkit.deploy.{MODULES[name]}").FORMAT
    return found
