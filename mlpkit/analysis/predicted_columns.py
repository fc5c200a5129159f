"""The columns that `mlpkit predict` answers with, portion by portion."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from mlpkit.analysis.novelty import UnlikeRows
from mlpkit.analysis.predict import Ensemble, Predictor
from mlpkit.analysis.predictions_file import Columns, as_columns
from mlpkit.data.inputs import Inputs
from mlpkit.errors import DataError

if TYPE_CHECKING:
    from mlpkit.analysis.conformal import Conformal
    from mlpkit.analysis.novelty import Novelty

NOT_FINITE = (
    "the prediction is not a finite number, since the inputs are too large for the model; correct or remove "
    "the row"
)


def predicted_columns(
    portions: Iterable[Inputs],
    predictor: Predictor,
    source: str,
    true: Tensor | None = None,
    conformal: "Conformal | None" = None,
    novelty: "Novelty | None" = None,
    warn: Callable[[str], None] = lambda line: None,
    with_spread: bool = False,
    may_be_nan: bool = False,
) -> Iterator[Columns]:
    """Predict the rows of each portion, and yield its columns; see `as_columns`.

    Args:
        portions: the rows.
        predictor: the model.
        source: the name of the rows in errors.
        true: the targets, if they are known and there is one portion.
        conformal: adds sets or intervals.
        novelty: adds how unlike the training rows each row is.
        warn: called after the last portion with a line that names rows unlike the training rows.
        with_spread: adds how far the members of an ensemble are apart.
        may_be_nan: whether predictions may be NaN or infinite, as those of a model of NaN are.

    Raises:
        DataError: a prediction is not a finite number, or a portion cannot be read.
    """
    before, unlike = 0, UnlikeRows()
    for inputs in portions:
        predictions = predictor.predict(inputs.values)
        if not may_be_nan and (row := predictions.first_not_finite()) is not None:
            named = inputs.names[row] if inputs.names else f"row {before + row + 1}"
            raise DataError(f"{source}: {named}: {NOT_FINITE}")
        apart = predictor.spread(inputs.values) if with_spread and isinstance(predictor, Ensemble) else None
        schema, names = predictor.input_schema, inputs.names
        found = None if novelty is None else novelty.of(inputs.values)
        if found is not None:
            unlike.add(found, names)
        yield as_columns(predictions, schema, names, true, inputs.kept, None, conformal, apart, found)
        before += len(inputs.values)
    if line := unlike.warning():
        warn(line)
