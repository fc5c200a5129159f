"""Checks of rows to predict, and the models that read them."""

from pathlib import Path

import torch

from fuzz.refusal import taken
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.inputs import read_inputs
from mlpkit.errors import DataError

SIGNATURES = (
    InputSchema("regression", ("x",), (1,), ("y",)),
    InputSchema("binary", ("x1", "x2"), (2,), ("moon",), ("upper", "lower")),
    InputSchema("multiclass", tuple(f"pixel{i}" for i in range(6)), (2, 3), ("label",), ("0", "1")),
)


def check(path: Path, content: bytes, input_schema: InputSchema) -> None:
    """Check that the content is read as finite rows of the model's columns, or refused."""
    path.write_bytes(content)
    found = taken(DataError, lambda: read_inputs(str(path), input_schema))
    if found is None:
        return
    values = found.values
    assert values.dtype == torch.float32 and values.ndim == 2
    assert len(values) >= 1 and values.shape[1] == len(input_schema.features)
    assert bool(values.isfinite().all())
    assert not input_schema.is_image or 0 <= float(values.min()) <= float(values.max()) <= 1
