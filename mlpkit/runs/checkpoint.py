"""The checkpoint: one safetensors file that holds all that is needed to predict or to go on.

Tensors stand under `model/`, `optimizer/`, `epoch/` (what the running epoch has seen) and `best/` (the
best weights, where they are not the newest). The header's metadata holds one JSON object under `mlpkit`:
`format`, `config`, `signature`, `progress`, `scores`, `fingerprint` (of the dataset), and `sha256` over all
of it and the tensors. Equal states give equal bytes. Reading a checkpoint can run no code: it is JSON and
numbers, and each is checked before it is used.

Older files have a name of its own for each part in the metadata; they can be read.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import StrictInt, TypeAdapter, ValidationError

from mlpkit.config.config import FORMAT, Config, parse, to_dict
from mlpkit.config.problems import spell
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import ConfigError, DataError
from mlpkit.runs.state import Progress, Scores, State, Tensors, are_plain
from mlpkit.runs.tensor_check import check_tensors
from mlpkit.runs.trust import Trust
from mlpkit.system.atomic_write import atomic_write
from mlpkit.system.tensor_file import TensorFile, encode, read_metadata

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from mlpkit.data.dataset import Dataset

KINDS = ("model", "optimizer", "epoch", "best")  # of tensors

KEY = "mlpkit"  # of the metadata
PARTS = ("format", "config", "signature", "progress", "scores")
_OLD_PARTS = (*PARTS, "fingerprint")  # each under its own name; format 1 had no fingerprint


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        config: of the run that wrote it.
        input_schema: what the model reads and says.
        state: what the run goes on from; of it, the tensors that were asked for.
        fingerprint: of the dataset; empty where an older mlpkit wrote none.
    """

    config: Config
    input_schema: InputSchema
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
        "signature": checkpoint.input_schema.to_dict(),
        "progress": checkpoint.state.progress.to_dict(),
        "scores": checkpoint.state.scores,
        "fingerprint": checkpoint.fingerprint,
    }
    tensors = {name: _to_array(tensor) for name, tensor in checkpoint.state.tensors().items()}
    atomic_write(path, encode_parts(parts, tensors))


def encode_parts(parts: Mapping[str, Any], tensors: Mapping[str, "NDArray[Any]"]) -> bytes:
    """Return the content of a file, with the SHA-256 over all of it.

    Args:
        parts: of the header, as JSON values.
        tensors: by name.
    """
    unsigned = json.dumps({**parts, "sha256": ""}, sort_keys=True)
    digest = hashlib.sha256(unsigned.encode())
    for name, array in sorted(tensors.items()):
        _add_tensor(digest, name, array)
    signed = json.dumps({**parts, "sha256": digest.hexdigest()}, sort_keys=True)
    return encode({KEY: signed}, tensors)


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
        check_tensors(file, header.config, header.input_schema, trust)
        kept: dict[str, Tensors] = {part: {} for part in parts}
        input_schema, digest = _start_digest(file.metadata)
        for name in sorted(file.entries):
            array = file.read(name)
            _add_tensor(digest, name, array)
            part, _, rest = name.partition("/")
            if part in kept:
                kept[part][rest] = _to_tensor(array)
        if digest.hexdigest() != input_schema:
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
    return decode_header(path, read_metadata(path))


def decode_header(path: Path, metadata: Mapping[str, str]) -> Checkpoint:
    """Return the metadata's parts, the config validated like a command line.

    Raises:
        DataError: a part is missing, cannot be read or is of a newer format.
    """
    try:
        parts = read_parts(metadata)
        if not all(name in parts for name in PARTS):
            raise DataError(f"{path}: not a checkpoint of mlpkit (a .safetensors file from a run folder)")
        written = _validated(StrictInt, parts["format"])
        if written > FORMAT:
            raise DataError(f"{path}: format {written} is newer than this mlpkit's {FORMAT}; upgrade mlpkit")
        progress = _validated(Progress, parts["progress"])
        scores = _validated(dict[str, Scores], parts["scores"])
        if not (are_plain(scores) and are_plain(progress.best_scores)):
            raise DataError(f"{path}: its scores cannot be read; use another checkpoint")
        return Checkpoint(
            config=parse(parts["config"]),
            input_schema=_validated(InputSchema, InputSchema.completed(parts["signature"])),
            state=State(progress, scores),
            fingerprint=_validated(str, parts.get("fingerprint", "")),
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


def read_parts(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the parts of a header as JSON values; none where it is not a checkpoint's.

    Raises:
        ValueError, RecursionError: it is no JSON.
    """
    if KEY in metadata:
        parts = json.loads(metadata[KEY])
        return parts if isinstance(parts, dict) else {}
    if not all(name in metadata for name in PARTS):
        return {}
    return {name: json.loads(metadata[name]) for name in _OLD_PARTS if name in metadata}


def _validated(kind: Any, value: Any) -> Any:
    """Return an object of a type, made from a JSON value: where the type is strict, a list may be a tuple."""
    return TypeAdapter(kind).validate_json(json.dumps(value))


def _start_digest(metadata: Mapping[str, str]) -> tuple[Any, Any]:
    """Return the SHA-256 that a header names, and one over all else that it says."""
    if KEY not in metadata:
        text = "".join(f"{name}\0{metadata[name]}\0" for name in _OLD_PARTS if name in metadata)
        return metadata.get("sha256"), hashlib.sha256(text.encode())
    input_schema = read_parts(metadata).get("sha256")
    unsigned = metadata[KEY].replace(f'"sha256": "{input_schema}"', '"sha256": ""')
    return input_schema, hashlib.sha256(unsigned.encode())


def _add_tensor(digest: Any, name: str, array: "NDArray[Any]") -> None:
    digest.update(f"{name}\0torch.{array.dtype}\0{list(array.shape)}\0".encode())
    digest.update(array)


def _to_array(tensor: "Tensor") -> "NDArray[Any]":
    array: NDArray[Any] = tensor.detach().cpu().contiguous().numpy()
    return array


def _to_tensor(array: "NDArray[Any]") -> "Tensor":
    import torch

    return torch.from_numpy(array)


def not_finite(tensors: Mapping[str, "Tensor"]) -> Iterator[str]:
    """Yield the names of the tensors that hold infinities or NaN."""
    return (name for name, tensor in tensors.items() if not bool(tensor.isfinite().all()))
