"""The header of a checkpoint file as plain JSON values, read without what makes a config of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpkit.errors import DataError
from mlpkit.system.tensor_file import read_metadata

KEY = "mlpkit"  # in the metadata
PARTS = ("format", "config", "signature", "progress", "scores")
OLD_PARTS = (*PARTS, "fingerprint")  # metadata keys of older files; format 1 had no fingerprint


def read_header_parts(path: Path) -> dict[str, Any]:
    """Return the parts of a file's header; empty if it is not the header of a checkpoint.

    Raises:
        DataError: the file cannot be read, or a part is not JSON.
    """
    try:
        return parts_of(read_metadata(path))
    except (ValueError, RecursionError):
        raise DataError(f"{path}: its header cannot be read; use another checkpoint") from None


def parts_of(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the parts of a header; empty if it is not the header of a checkpoint.

    Raises:
        ValueError, RecursionError: a part is not JSON.
    """
    if KEY in metadata:
        parts = json.loads(metadata[KEY])
        return parts if isinstance(parts, dict) else {}
    if not all(name in metadata for name in PARTS):
        return {}
    return {name: json.loads(metadata[name]) for name in OLD_PARTS if name in metadata}
