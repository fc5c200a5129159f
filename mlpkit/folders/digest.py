"""The SHA-256 of a checkpoint file, over its header and its tensors. It stands in the header itself."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlpkit.folders.header import KEY, OLD_PARTS, parts_of
from mlpkit.system.tensor_file import encode

if TYPE_CHECKING:
    from numpy.typing import NDArray


def encode_parts(parts: Mapping[str, Any], tensors: Mapping[str, "NDArray[Any]"]) -> bytes:
    """Return the bytes of a checkpoint file, including its SHA-256.

    Args:
        parts: the header's parts, as JSON values.
        tensors: the tensors by name.
    """
    unsigned = json.dumps({**parts, "sha256": ""}, sort_keys=True)
    digest = hashlib.sha256(unsigned.encode())
    for name, array in sorted(tensors.items()):
        add_tensor(digest, name, array)
    signed = json.dumps({**parts, "sha256": digest.hexdigest()}, sort_keys=True)
    return encode({KEY: signed}, tensors)


def start_digest(metadata: Mapping[str, str]) -> tuple[Any, Any]:
    """Return the SHA-256 stored in a header, and a new digest over the rest of the header."""
    if KEY not in metadata:
        text = "".join(f"{name}\0{metadata[name]}\0" for name in OLD_PARTS if name in metadata)
        return metadata.get("sha256"), hashlib.sha256(text.encode())
    stored = parts_of(metadata).get("sha256")
    unsigned = metadata[KEY].replace(f'"sha256": "{stored}"', '"sha256": ""')
    return stored, hashlib.sha256(unsigned.encode())


def add_tensor(digest: Any, name: str, array: "NDArray[Any]") -> None:
    """Add a tensor to a digest; the tensors come in the order of their names."""
    digest.update(f"{name}\0torch.{array.dtype}\0{list(array.shape)}\0".encode())
    digest.update(array)
