"""The checkpoint: one safetensors file that holds all that is needed to predict or to go on.

Tensors stand under `model/` and `optimizer/`. The header's metadata holds JSON: `format`, `config`,
`signature`, `progress`, `scores`, and `sha256` over all of it and the tensors. Reading one can run no
code: it is JSON and numbers.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpkit.atomic_write import atomic_write
from mlpkit.config import FORMAT, Config, parse, to_dict
from mlpkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from mlpkit.data.dataset import Signature

LARGEST_HEADER = 1 << 24  # bytes
_PARTS = ("format", "config", "signature", "progress", "scores")


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        config: of the run that wrote it.
        signature: what the model reads and says.
        progress: epoch, step and what else the loop remembers, as JSON values.
        scores: scores by split at that time.
        model: weights and buffers by name.
        optimizer: the optimizer's tensors by name.
    """

    config: Config
    signature: "Signature"
    progress: dict[str, Any]
    scores: dict[str, Any]
    model: dict[str, "Tensor"] = field(repr=False)
    optimizer: dict[str, "Tensor"] = field(default_factory=dict, repr=False)


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint; `load` is the inverse.

    Raises:
        WriteError: it cannot be written; an older file at the path is untouched.
    """
    from safetensors.torch import save as to_bytes

    tensors = {f"model/{name}": tensor for name, tensor in checkpoint.model.items()}
    tensors |= {f"optimizer/{name}": tensor for name, tensor in checkpoint.optimizer.items()}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    parts: dict[str, Any] = {
        "format": FORMAT,
        "config": to_dict(checkpoint.config),
        "signature": checkpoint.signature.to_dict(),
        "progress": checkpoint.progress,
        "scores": checkpoint.scores,
    }
    metadata = {name: json.dumps(value, sort_keys=True) for name, value in parts.items()}
    content = to_bytes(tensors, metadata={**metadata, "sha256": _digest(metadata, tensors)})
    atomic_write(path, _in_order(content))


def _in_order(content: bytes) -> bytes:
    """Return the file with its header's keys in order: safetensors writes them in another one each time.

    The same run then gives the same file. Spaces after the header keep the tensors aligned to 8 bytes.
    """
    (length,) = struct.unpack("<Q", content[:8])
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def load(path: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises:
        DataError: not a checkpoint, damaged, or of a newer mlpkit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    from mlpkit.data.dataset import Signature

    metadata = read_header(path)
    try:
        tensors = from_bytes(path.read_bytes())
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise DataError(f"{path}: damaged ({str(error)[:80]}); use another checkpoint") from None
    stored = {name: metadata[name] for name in _PARTS}
    if _digest(stored, tensors) != metadata.get("sha256"):
        raise DataError(f"{path}: damaged (its SHA-256 does not match); use another checkpoint")
    parts = decode_header(path, metadata)
    try:
        signature = Signature.from_dict(parts["signature"])
    except (TypeError, AttributeError):
        raise DataError(f"{path}: its signature cannot be read; use another checkpoint") from None
    by_kind: dict[str, dict[str, Any]] = {"model": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        by_kind.setdefault(kind, {})[rest] = tensor
    return Checkpoint(
        config=parts["config"],
        signature=signature,
        progress=parts["progress"],
        scores=parts["scores"],
        model=by_kind["model"],
        optimizer=by_kind["optimizer"],
    )


def read_header(path: Path) -> dict[str, str]:
    """Return the header's metadata without touching the tensors.

    Raises:
        DataError: not a checkpoint of mlpkit.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'not a regular file' if path.exists() else 'no such checkpoint'}")
    wrong = DataError(f"{path}: not a checkpoint of mlpkit (a .safetensors file from a run folder)")
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(LARGEST_HEADER, path.stat().st_size - 8):
                raise wrong
            header = json.loads(stream.read(length))
    except (ValueError, RecursionError):
        raise wrong from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(metadata.get(name), str) for name in _PARTS):
        raise wrong
    return metadata


def decode_header(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the metadata's parts, the config validated like a command line.

    Raises:
        DataError: a part cannot be read or is of a newer format.
    """
    try:
        parts = {name: json.loads(metadata[name]) for name in _PARTS}
        if parts["format"] > FORMAT:
            raise DataError(
                f"{path}: format {parts['format']} is newer than this mlpkit's {FORMAT}; upgrade mlpkit"
            )
        parts["config"] = parse(parts["config"])
    except (ValueError, TypeError, RecursionError):
        raise DataError(f"{path}: its header cannot be read; use another checkpoint") from None
    except ConfigError as error:
        raise DataError(f"{path}: its config is not valid: {str(error).splitlines()[0]}") from None
    return parts


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, "Tensor"]) -> str:
    digest = hashlib.sha256()
    for name in _PARTS:
        digest.update(f"{name}\0{metadata[name]}\0".encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        digest.update(tensor.contiguous().flatten().view(_bytes_type()).numpy().tobytes())
    return digest.hexdigest()


def _bytes_type() -> Any:
    import torch

    return torch.uint8
