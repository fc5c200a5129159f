"""Checks the rows that an estimator is given, as scikit-learn does, and makes a dataset of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_regressor
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import _check_sample_weight, _check_y, check_consistent_length, validate_data
from torch import Tensor

from mlpkit.data.dataset import Dataset, Split
from mlpkit.data.encoder import TableEncoder
from mlpkit.data.frames import encode_frame, fit_frame, is_numeric_frame, read_frame
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.scaling import Affine, column_scaling
from mlpkit.data.splits import gather_splits

Array = NDArray[Any]


def read_rows(
    estimator: BaseEstimator,
    X: Any,
    y: Any,
    sample_weight: Any,
    dtypes: Any,
    trained: InputSchema | None,
    missing: Sequence[str],
) -> tuple[Array, Array, Array | None, TableEncoder | None]:
    """Return inputs (rows, features), raw targets, weights (rows,) or None, and the encoder or None.

    Rows of weight 0 are left out.

    Args:
        estimator: gets `n_features_in_` and `feature_names_in_`.
        X: the inputs.
        y: the targets.
        sample_weight: how much each row counts; None: all the same.
        dtypes: of the inputs, as in scikit-learn's `check_array`.
        trained: the input schema of a model that is trained further; None: a new model.
        missing: texts that stand for a missing value in a DataFrame.

    Raises:
        ValueError: the rows cannot be used; TypeError: they are a sparse matrix.
    """
    is_first, frame = trained is None, read_frame(X)
    checks = {"multi_output": True, "y_numeric": is_regressor(estimator)}
    encoder = trained.encoder if trained is not None else None
    if frame is not None and (encoder is not None or (is_first and not is_numeric_frame(frame))):
        validate_data(estimator, X, y, reset=is_first, skip_check_array=True)
        y = _check_y(y, estimator=estimator, **checks)
        check_consistent_length(X, y)
    else:
        frame = None
        X, y = validate_data(estimator, X, y, reset=is_first, dtype=dtypes, **checks)
    weights = None
    if sample_weight is not None:
        weights = _check_sample_weight(sample_weight, np.empty(len(y)), dtype=np.float64)
        if (weights < 0).any():
            raise ValueError("Negative values in data passed to `sample_weight`")
        if not weights.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        kept = weights > 0
        y, weights = y[kept], weights[kept]
        frame, X = (frame, X[kept]) if frame is None else (frame.filter(pa.array(kept)), X)
    if frame is not None:
        encoder = encoder or fit_frame(frame, missing)
        X = encode_frame(encoder, frame, missing)
    return X, y, weights, encoder


def read_inputs(
    estimator: BaseEstimator, X: Any, dtype: str, trained: InputSchema, missing: Sequence[str]
) -> Tensor:
    """Return the inputs (rows, features) to predict.

    Args:
        estimator: what predicts.
        X: the inputs.
        dtype: of an array.
        trained: the model's input schema.
        missing: texts that stand for a missing value in a DataFrame.

    Raises:
        ValueError: they are not like those that the model was trained on.
    """
    if trained.encoder is None:
        return as_tensor(validate_data(estimator, X, reset=False, dtype=np.dtype(dtype)))
    frame = read_frame(X)
    if frame is None:
        raise ValueError(
            f"X: {type(estimator).__name__} was fitted on a DataFrame whose columns are encoded by their "
            "names; give it a DataFrame"
        )
    validate_data(estimator, X, reset=False, skip_check_array=True)
    return torch.from_numpy(encode_frame(trained.encoder, frame, missing))


def as_tensor(values: Array) -> Tensor:
    """Return an array as a tensor, which shares its memory if it can."""
    return torch.from_numpy(np.require(values, requirements=("C", "W")))


def schema_of(
    estimator: BaseEstimator,
    width: int,
    encoder: TableEncoder | None,
    task: Any,
    targets: Sequence[str],
    classes: Sequence[str],
) -> InputSchema:
    """Return the input schema of new data; names that mlpkit cannot take are numbered.

    Args:
        estimator: has `feature_names_in_` if the features have names.
        width: number of features.
        encoder: of a DataFrame, or None.
        task: regression, binary, multiclass or multilabel.
        targets: names of the targets.
        classes: names of the classes; empty for regression and multilabel.
    """
    features = encoder.features() if encoder else tuple(getattr(estimator, "feature_names_in_", ()))
    return InputSchema(
        task,
        names_or_numbers(features, "x", width),
        (width,),
        names_or_numbers(targets, "y", len(targets)),
        names_or_numbers(classes, "", len(classes)),
        encoder,
    )


def names_or_numbers(names: Sequence[Any], letter: str, count: int) -> tuple[str, ...]:
    """Return the names as text, or numbered ones if they are not printable, too long or not distinct."""
    texts = tuple(str(name) for name in names)
    good = all(0 < len(text) <= 200 and text.isprintable() for text in texts) and len(set(texts)) == count
    return (
        texts if good and len(texts) == count else tuple(f"{letter}{number + 1}" for number in range(count))
    )


def dataset_of(
    schema: InputSchema,
    inputs: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    standardize: bool,
    validation: tuple[float, int] | None,
    scalings: tuple[Affine | None, Affine | None] | None,
) -> Dataset:
    """Return a dataset of rows in memory.

    Args:
        schema: the input schema.
        inputs: (rows, features).
        targets: as in `Split`.
        weights: (rows,) or None.
        standardize: whether the model standardises inputs (unless they are encoded) and regression targets.
        validation: (share of the rows held out, seed); None: no row is.
        scalings: those of inputs and targets of a model that is trained further; None: fit them.

    Raises:
        ValueError: the rows cannot be split.
    """
    splits = {"train": Split(inputs, targets, all_weights=weights)}
    if validation is not None:
        share, seed = validation
        labels, rows = targets.numpy() if schema.classes else None, np.arange(len(inputs))
        parts = train_test_split(rows, test_size=share, random_state=seed % 2**32, stratify=labels)
        by_split = dict(zip(("train", "val"), map(torch.from_numpy, parts), strict=True))
        splits, _ = gather_splits(inputs, targets, by_split, weights)
    train = splits["train"]
    if scalings is None:
        scales_inputs = standardize and schema.encoder is None
        scales_targets = standardize and schema.task == "regression"
        scalings = (
            column_scaling(train.inputs, train.weights) if scales_inputs else None,
            column_scaling(train.targets, train.weights) if scales_targets else None,
        )
    return Dataset("table" if schema.encoder else "arrays", schema, splits, *scalings)
