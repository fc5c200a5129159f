"""JSON as the standard has it: numbers that it cannot say are null."""

import json
import math
from typing import Any


def to_json(value: Any, indent: int | None = None) -> str:
    """Return the text of a value."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
