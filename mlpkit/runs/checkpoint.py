"""The checkpoint: one safetensors file that holds all that is needed to predict or to go on.

Tensors stand under `model/`, `optimizer/`, `epoch/` (what the running epoch has seen) and `best/` (the
best weights, where they are not the newest). The header's metadata holds JSON: `format`, `config`,
`signature`, `progress`, `scores`, `fingerprint` (of the dataset), and `sha256` over all of it and the
tensors. Reading one can run no code: it is JSON and numbers, and each is checked before it is used.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from mlpkit.config.config import FORMAT, Config, parse, to_dict
from mlpkit.config.problems import spell
from mlpkit.data.signature import Signature
from mlpkit.errors import ConfigError, DataError
from mlpkit.files.atomic_write import atomic_write
from mlpkit.files.tensor_file import TensorFile, encode
from mlpkit.runs.state import Progress, Scores, State, Tensors, are_plain
from mlpkit.runs.tensor_check import check_tensors
from mlpkit.runs.trust import Trust

if TYPE_CHECKING:
    from torch import Tensor

    from mlpkit.data.dataset import Dataset

KINDS = ("model", "optimizer", "epoch", "best")  # of tensors

_PARTS = ("format", "config", "signature", "progress", "scores")
_ALL_PARTS = (*_PARTS, "fingerprint")  # which format 1 did not have
_KINDS = {"torch.float32": "F32", "torch.float64": "F64", "torch.int64": "I64"}
_DTYPES = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        config: of the run that wrote it.
        signature: what the model reads and says.
        state: what the run goes on from; of it, the tensors that were asked for.
        fingerprint: of the dataset; empty where an older mlpkit wrote none.
    """

    config: Config
    signature: Signature
    state: State
    fingerprint: str = ""

    def other_data(self, dataset: "Dataset") -> str | None:
        """Return that a dataset is not the one that was trained on; None where it is, or nobody knows."""
        now, before = dataset.fingerprint, self.fingerprint
        if not before or before == now:
            return None
        return (
            f"dataset={dataset.name}: its data is not what the run was trained on "
            f"(fingerprint {now[:12]}, was {before[:12]})"
        )


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint; `load` is the inverse.

    Raises:
        WriteError: it cannot be written; an older file at the path is untouched.
    """
    parts: dict[str, Any] = {
        "format": FORMAT,
        "config": to_dict(checkpoint.config),
        "signature": checkpoint.signature.to_dict(),
        "progress": checkpoint.state.progress.to_dict(),
        "scores": checkpoint.state.scores,
        "fingerprint": checkpoint.fingerprint,
    }
    metadata = {name: json.dumps(value, sort_keys=True) for name, value in parts.items()}
    tensors = {}
    digest = _start_digest(metadata)
    for name, tensor in sorted(checkpoint.state.tensors().items()):
        content = _to_bytes(tensor)
        _add_name(digest, name, str(tensor.dtype), tensor.shape)
        digest.update(content)
        tensors[name] = (_KINDS[str(tensor.dtype)], tuple(tensor.shape), content)
    atomic_write(path, encode({**metadata, "sha256": digest.hexdigest()}, tensors))


def load(path: Path, parts: Sequence[str] = ("model",), trust: Trust = Trust.FOREIGN) -> Checkpoint:
    """Read and verify a checkpoint.

    Args:
        path: the file.
        parts: the kinds of tensors to keep; all are verified, and memory is taken for these alone.
        trust: says how large its model may be.

    Raises:
        DataError: not a checkpoint, damaged, too large, of a newer mlpkit, or its tensors are not those
            of its config.
    """
    with TensorFile(path) as file:
        header = decode_header(path, file.metadata)
        check_tensors(file, header.config, header.signature, trust)
        kept: dict[str, Tensors] = {part: {} for part in parts}
        digest = _start_digest(file.metadata)
        for name, entry in sorted(file.entries.items()):
            _add_name(digest, name, _DTYPES[entry.kind], entry.shape)
            part, _, rest = name.partition("/")
            content = bytearray()
            for piece in file.read(name):
                digest.update(piece)
                if part in kept:
                    content += piece
            if part in kept:
                kept[part][rest] = _from_bytes(content, entry.kind, entry.shape)
        if digest.hexdigest() != file.metadata.get("sha256"):
            raise DataError(f"{path}: damaged (its SHA-256 does not match); use another checkpoint")
    tensors = (kept.get(kind, {}) for kind in KINDS)
    return replace(header, state=State(header.state.progress, header.state.scores, *tensors))


def load_first(
    paths: Sequence[Path],
    warn: Callable[[str], None],
    parts: Sequence[str] = ("model",),
    trust: Trust = Trust.FOREIGN,
) -> tuple[Path, Checkpoint]:
    """Return the first checkpoint that can be loaded, and its path; `warn` is told of those before it.

    Raises:
        DataError: none can be; what is wrong with the first.
    """
    problems: list[DataError] = []
    for path in paths:
        try:
            stored = load(path, parts, trust)
        except DataError as error:
            problems.append(error)
            continue
        for problem in problems:
            reason = str(problem).removesuffix("; use another checkpoint")
            warn(f"warning: {reason}; using {path.name} (epoch {stored.state.progress.epoch}) instead")
        return path, stored
    raise problems[0]


def read_header(path: Path) -> Checkpoint:
    """Return what a checkpoint says without reading its tensors, which are therefore not verified.

    Raises:
        DataError: not a checkpoint, or of a newer mlpkit.
    """
    with TensorFile(path) as file:
        return decode_header(path, file.metadata)


def decode_header(path: Path, metadata: Mapping[str, str]) -> Checkpoint:
    """Return the metadata's parts, the config validated like a command line.

    Raises:
        DataError: a part is missing, cannot be read or is of a newer format.
    """
    if not all(name in metadata for name in _PARTS):
        raise DataError(f"{path}: not a checkpoint of mlpkit (a .safetensors file from a run folder)")
    try:
        written = TypeAdapter(int).validate_json(metadata["format"], strict=True)
        if written > FORMAT:
            raise DataError(f"{path}: format {written} is newer than this mlpkit's {FORMAT}; upgrade mlpkit")
        progress = TypeAdapter(Progress).validate_json(metadata["progress"])
        scores = TypeAdapter(dict[str, Scores]).validate_json(metadata["scores"])
        if not (are_plain(scores) and are_plain(progress.best_scores)):
            raise DataError(f"{path}: its scores cannot be read; use another checkpoint")
        return Checkpoint(
            config=parse(json.loads(metadata["config"])),
            signature=TypeAdapter(Signature).validate_json(metadata["signature"]),
            state=State(progress, scores),
            fingerprint=TypeAdapter(str).validate_json(metadata.get("fingerprint", '""')),
        )
    except ConfigError as error:
        raise DataError(f"{path}: its config is not valid: {error.args[0]}") from None
    except ValidationError as error:
        where = "".join(f"{part}." for part in error.errors()[0]["loc"]).rstrip(".")
        raise DataError(
            f"{path}: its header cannot be read ({spell(f'{error.title} {where}'.strip())}); "
            "use another checkpoint"
        ) from None
    except (ValueError, RecursionError):
        raise DataError(f"{path}: its header cannot be read; use another checkpoint") from None


def _start_digest(metadata: Mapping[str, str]) -> Any:
    digest = hashlib.sha256()
    for name in _ALL_PARTS:
        if name in metadata:
            digest.update(f"{name}\0{metadata[name]}\0".encode())
    return digest


def _add_name(digest: Any, name: str, dtype: str, shape: Sequence[int]) -> None:
    digest.update(f"{name}\0{dtype}\0{list(shape)}\0".encode())


def _to_bytes(tensor: "Tensor") -> bytes:
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _from_bytes(content: bytearray, kind: str, shape: tuple[int, ...]) -> "Tensor":
    import torch

    dtype = getattr(torch, _DTYPES[kind].removeprefix("torch."))
    if not content:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype).reshape(shape)


def not_finite(tensors: Mapping[str, "Tensor"]) -> Iterator[str]:
    """Yield the names of the tensors that hold infinities or NaN."""
    return (name for name, tensor in tensors.items() if not bool(tensor.isfinite().all()))
