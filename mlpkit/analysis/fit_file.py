"""fit.json: how `mlpkit fit` chose the model that it trained, kept beside it for the report."""

from dataclasses import asdict

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from mlpkit.errors import DataError
from mlpkit.folders.sweep_folder import SweepFolder
from mlpkit.system.plain_json import read_object, write_json


@dataclass(frozen=True)
class FitComparison:
    """The comparison of models as `mlpkit fit` prints it.

    Attributes:
        about: how many rows, folds and seeds.
        titles: the columns' titles.
        rows: a row for each model, best first.
        lines: what the table means, and whether the winner is better than a constant prediction.
        warnings: what looks wrong in the data, such as a column that gives the target away.
        folder: the folder of the cross-validation.
    """

    about: str
    titles: list[str]
    rows: list[list[str]]
    lines: list[str]
    warnings: list[str]
    folder: str


def write_fit(sweep: SweepFolder, comparison: FitComparison) -> None:
    """Write fit.json.

    Raises:
        WriteError: it cannot be written.
    """
    write_json(sweep.fit, asdict(comparison))


def read_fit(sweep: SweepFolder) -> FitComparison | None:
    """Return the comparison; None if `mlpkit fit` did not make the sweep, or fit.json cannot be read."""
    if sweep.fit.is_symlink() or not sweep.fit.exists():
        return None
    try:
        found = TypeAdapter(FitComparison).validate_python(read_object(sweep.fit))
    except (DataError, ValidationError):
        return None
    return found if all(len(row) == len(found.titles) for row in found.rows) else None
