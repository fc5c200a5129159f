"""Standard JSON: NaN and infinity are written as null.

Built on Python's json, which lacks only this. Other libraries, such as orjson, do not limit the size and
depth of a file either.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpkit.errors import DataError
from mlpkit.system.atomic_write import atomic_write

LARGEST_JSON = 1 << 20  # bytes of a file
_DEEPEST = 50  # levels of nesting

_ENCODE = json.JSONEncoder(allow_nan=False).encode  # json.dumps would make an encoder for each line


def to_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON text; NaN and infinity become null."""
    encode = _ENCODE if indent is None else json.JSONEncoder(allow_nan=False, indent=indent).encode
    try:
        return encode(value)
    except ValueError:  # NaN or infinity: so rare that checking every value first would waste time
        return encode(finite(value))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object to a file atomically.

    Raises:
        WriteError: the file cannot be written.
    """
    atomic_write(path, f"{to_json(dict(content), indent=2)}\n".encode())


def read_object(path: Path) -> dict[str, Any]:
    """Read a small file of a run folder that holds one JSON object.

    Raises:
        DataError: it is not a regular file, too large, nested too deeply, or not a JSON object.
    """
    regular_file(path)
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise DataError(f"{path}: larger than {LARGEST_JSON} bytes; not a file of mlpkit")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or is_deep(found):
        raise DataError(f"{path}: not a JSON object; mend or remove the file")
    return found


def regular_file(path: Path) -> None:
    """Check that a path is a regular file.

    Raises:
        DataError: it is missing, a folder, a pipe or a device.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")


def is_deep(value: Any, levels: int = _DEEPEST) -> bool:
    """Whether a value is nested deeper than `levels`; json can read deeper values than it can write."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(is_deep(item, levels - 1) for item in inside)


def finite(value: Any) -> Any:
    """Return a JSON value in which NaN and infinity are None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value
