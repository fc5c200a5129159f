"""JSON as the standard has it: numbers that it cannot say are null.

Not a library: Python's json does all but this, and others, such as orjson, do not limit the size and the
depth of a file either.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpkit.errors import DataError
from mlpkit.system.atomic_write import atomic_write

LARGEST = 1 << 20  # bytes of a file that is read whole
DEEPEST = 50  # levels of it


_ENCODE = json.JSONEncoder(allow_nan=False).encode  # json.dumps would make one for each line


def to_json(value: Any, indent: int | None = None) -> str:
    """Return the text of a value."""
    encode = _ENCODE if indent is None else json.JSONEncoder(allow_nan=False, indent=indent).encode
    try:
        return encode(value)
    except ValueError:  # a number that JSON cannot say: too seldom to be looked for each time
        return encode(_finite(value))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object, whole or not at all.

    Raises:
        WriteError: it cannot be written.
    """
    atomic_write(path, f"{to_json(dict(content), indent=2)}\n".encode())


def read_object(path: Path) -> dict[str, Any]:
    """Return the object that a small file of a run folder holds.

    Raises:
        DataError: it is no regular file, too large, or holds something else.
    """
    regular_file(path)
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path}: larger than {LARGEST} bytes; not a file of mlpkit")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or _is_deep(found, DEEPEST):
        raise DataError(f"{path}: not a JSON object; mend or remove the file")
    return found


def regular_file(path: Path) -> None:
    """Refuse what is missing, a folder, a pipe or a device.

    Raises:
        DataError: it is one.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")


def _is_deep(value: Any, levels: int) -> bool:
    """Whether it is nested deeper than so many levels, which could be read and not be written again."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_is_deep(item, levels - 1) for item in inside)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
