"""The checkpoint: one safetensors file with all that is needed to predict or to resume.

Tensor names begin with `model/`, `optimizer/`, `epoch/` (losses and outputs of the running epoch), `best/`
(the best weights, if they are not the newest), `raw/` (the weights before averaging by `trainer.ema` or
`trainer.swa`) or `novelty/` (see `mlpkit.analysis.novelty`). The header's metadata holds
one JSON object under the key `mlpkit`: `format`, `config`, `signature` (the input schema), `progress`,
`scores`, `fingerprint` (of the dataset), `class_weights`, `estimator`, `temperature`, `ensemble` and `record`
(of a run of one file) if there are any, and `sha256` over all of it and the tensors. Equal states give equal
bytes. Reading a checkpoint runs no code: it is JSON and numbers, all checked before use.

In older files each part has its own metadata key; they can still be read.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import StrictInt, TypeAdapter, ValidationError

from mlpkit.config.config import FORMAT, Config, parse, to_dict
from mlpkit.config.problems import spell
from mlpkit.config.section import NotNegative
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders.digest import add_tensor, encode_parts, start_digest
from mlpkit.folders.environment import name_plugins
from mlpkit.folders.header import PARTS, parts_of
from mlpkit.folders.run_record import RECORD, record_of
from mlpkit.folders.state import KINDS, Progress, Scores, State, Tensors, are_plain
from mlpkit.folders.tensor_check import check_tensors
from mlpkit.folders.trust import Trust
from mlpkit.system.atomic_write import atomic_write
from mlpkit.system.tensor_file import TensorFile, read_metadata

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from mlpkit.data.dataset import Dataset

CALIBRATED = 4  # format of a calibrated checkpoint, whose temperature an older mlpkit would ignore
EXTENDED = 5  # format of one that has an ensemble's temperature, or novelty
TEMPERATURES = (0.01, 100.0)  # lowest and highest


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file.

    Attributes:
        config: the run's config.
        input_schema: the model's inputs and outputs.
        state: the run's state, with the kinds of tensors that were loaded.
        fingerprint: hash of the dataset; empty in files of an older mlpkit.
        class_weights: the weight of each class in the loss, by label; () if all count the same.
        estimator: the parameters of the scikit-learn estimator that trained it; empty if none did.
        temperature: what `mlpkit calibrate` divides the logits by; 1: the model is not calibrated.
        ensemble: the temperature of the run as a part of an ensemble, and the number of its runs; () if there
            is none.
        novelty: what `mlpkit calibrate --novelty` has stored: training rows to compare with, scaled (n,
            features), and their distances (n,); empty if it has not.
        record: summary, environment and command lines of a run of one file; empty for other runs.
    """

    config: Config
    input_schema: InputSchema
    state: State
    fingerprint: str = ""
    class_weights: tuple[float, ...] = ()
    estimator: Mapping[str, Any] = field(default_factory=dict)
    temperature: float = 1.0
    ensemble: tuple[float, int] | tuple[()] = ()
    novelty: Tensors = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_best(self) -> bool:
        """Whether it holds the best weights alone, and not where training was."""
        return self.state.progress.epoch > 0 and not self.state.progress.best_epoch

    def name_of(self, path: Path) -> str:
        """Return what to call it: best, or the name of its file, such as last."""
        return "best" if self.is_best else path.stem

    def members(self) -> "list[Checkpoint]":
        """Return a checkpoint of each member, as if it were a run of its own; itself if the run has one."""
        count = self.config.model.networks
        if count == 1:
            return [self]
        config = self.config.without_members()
        return [replace(self, config=config, state=self.state.of_member(n)) for n in range(count)]

    def other_data(self, dataset: "Dataset") -> str | None:
        """Return an error text if a dataset is not the one trained on; None if it is, or if unknown."""
        new, old = dataset.fingerprint, self.fingerprint
        if not old or old == new:
            return None
        return (
            f"dataset={dataset.name}: its data is not what the run was trained on "
            f"(fingerprint {new[:12]}, was {old[:12]})"
        )


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; `load` is the inverse.

    Raises:
        WriteError: it cannot be written; an older file at the path is left unchanged.
    """
    parts: dict[str, Any] = {
        "format": _format_of(checkpoint),
        "config": to_dict(checkpoint.config),
        "signature": checkpoint.input_schema.to_dict(),
        "progress": checkpoint.state.progress.to_dict(),
        "scores": checkpoint.state.scores,
        "fingerprint": checkpoint.fingerprint,
        **({"class_weights": checkpoint.class_weights} if checkpoint.class_weights else {}),
        **({"estimator": checkpoint.estimator} if checkpoint.estimator else {}),
        **({"temperature": checkpoint.temperature} if checkpoint.temperature != 1 else {}),
        **({"ensemble": checkpoint.ensemble} if checkpoint.ensemble else {}),
        **({RECORD: json.dumps(checkpoint.record)} if checkpoint.record else {}),
    }
    named = {f"novelty/{name}": tensor for name, tensor in checkpoint.novelty.items()}
    tensors = {name: _to_array(tensor) for name, tensor in (checkpoint.state.tensors() | named).items()}
    atomic_write(path, encode_parts(parts, tensors))


def _format_of(checkpoint: Checkpoint) -> int:
    if checkpoint.ensemble or checkpoint.novelty:
        return EXTENDED
    return FORMAT if checkpoint.temperature == 1 else max(FORMAT, CALIBRATED)


def load(
    path: Path, parts: Sequence[str] = ("model",), trust: Trust = Trust.FOREIGN, at_best: bool = False
) -> Checkpoint:
    """Read and verify a checkpoint.

    Args:
        path: the file.
        parts: the kinds of tensors to load (see `KINDS`); all tensors are verified.
        trust: decides how large the model may be.
        at_best: return the best weights alone, as `model`, if the file knows which they are.

    Raises:
        DataError: not a checkpoint, damaged, too large, written by a newer mlpkit, or its tensors do not fit
            its config.
    """
    with TensorFile(path) as file:
        header = decode_header(path, file.metadata)
        check_tensors(file, header.config, header.input_schema, trust)
        at_best = at_best and header.state.progress.best_epoch > 0
        more = () if "model" not in parts else ("novelty", "best") if at_best else ("novelty",)
        kept: dict[str, Tensors] = {part: {} for part in (*parts, *more)}
        expected, digest = start_digest(file.metadata)
        for name in sorted(file.entries):
            array = file.read(name)
            add_tensor(digest, name, array)
            part, _, rest = name.partition("/")
            if part in kept:
                kept[part][rest] = _to_tensor(array)
        if digest.hexdigest() != expected:
            raise DataError(f"{path}: damaged (its SHA-256 does not match); use another checkpoint")
    state = State(header.state.progress, header.state.scores, *(kept.get(kind, {}) for kind in KINDS))
    state = state.at_best() if at_best else state
    return replace(header, state=state, novelty=kept.get("novelty", {}))


def load_first(
    paths: Sequence[Path],
    warn: Callable[[str], None],
    parts: Sequence[str] = ("model",),
    trust: Trust = Trust.FOREIGN,
    at_best: bool = False,
) -> tuple[Path, Checkpoint]:
    """Return the path and the content of the first checkpoint that can be loaded; warn about those before it.

    Raises:
        DataError: none can be loaded; the error of the first.
    """
    problems: list[DataError] = []
    for path in paths:
        try:
            stored = load(path, parts, trust, at_best)
        except DataError as error:
            problems.append(error)
            continue
        for problem in problems:
            reason = str(problem).removesuffix("; use another checkpoint")
            warn(f"warning: {reason}; using {path.name} (epoch {stored.state.progress.epoch}) instead")
        return path, stored
    raise problems[0]


def read_header(path: Path) -> Checkpoint:
    """Return a checkpoint without its tensors, which are not verified.

    Raises:
        DataError: not a checkpoint, or written by a newer mlpkit.
    """
    return decode_header(path, read_metadata(path))


def decode_header(path: Path, metadata: Mapping[str, str]) -> Checkpoint:
    """Return the checkpoint that a header describes, without tensors; its config is validated.

    Raises:
        DataError: a part is missing or cannot be read, or the format is newer than this mlpkit's.
    """
    try:
        parts = parts_of(metadata)
        if not all(name in parts for name in PARTS):
            raise DataError(f"{path}: not a checkpoint of mlpkit (a .safetensors file from a run folder)")
        written = _validated(StrictInt, parts["format"])
        if written > (newest := max(FORMAT, EXTENDED)):
            raise DataError(f"{path}: format {written} is newer than this mlpkit's {newest}; upgrade mlpkit")
        progress = _validated(Progress, parts["progress"])
        scores = _validated(dict[str, Scores], parts["scores"])
        if not (are_plain(scores) and are_plain(progress.best_scores)):
            raise DataError(f"{path}: its scores cannot be read; use another checkpoint")
        input_schema = _validated(InputSchema, InputSchema.completed(parts["signature"]))
        class_weights = _validated(tuple[NotNegative, ...], parts.get("class_weights", []))
        if len(class_weights) not in (0, len(input_schema.classes)):
            raise DataError(f"{path}: its class weights are not those of its classes; use another checkpoint")
        temperature = _validated(float, parts.get("temperature", 1.0))
        ensemble = _validated(tuple[float, int] | tuple[()], parts.get("ensemble", []))
        low, high = TEMPERATURES
        usable = all(low <= of <= high for of in (temperature, *ensemble[:1]))
        if not usable or ((temperature != 1 or ensemble) and input_schema.task == "regression"):
            raise DataError(f"{path}: its temperature cannot be used; use another checkpoint")
        return Checkpoint(
            config=parse(parts["config"]),
            input_schema=input_schema,
            state=State(progress, scores),
            fingerprint=_validated(str, parts.get("fingerprint", "")),
            class_weights=class_weights,
            estimator=_validated(dict[str, Any], parts.get("estimator", {})),
            temperature=temperature,
            ensemble=ensemble,
            record=record_of(parts),
        )
    except ConfigError as error:
        problem = name_plugins(str(error.args[0]), path.absolute().parents[1])
        raise DataError(f"{path}: its config is not valid: {problem}") from None
    except ValidationError as error:
        where = "".join(f"{part}." for part in error.errors()[0]["loc"]).rstrip(".")
        raise DataError(
            f"{path}: its header cannot be read ({spell(f'{error.title} {where}'.strip())}); "
            "use another checkpoint"
        ) from None
    except (ValueError, RecursionError):
        raise DataError(f"{path}: its header cannot be read; use another checkpoint") from None


def _validated(kind: Any, value: Any) -> Any:
    """Validate a JSON value as `kind`; only pydantic's JSON mode accepts a list for a strict tuple."""
    return TypeAdapter(kind).validate_json(json.dumps(value))


def _to_array(tensor: "Tensor") -> "NDArray[Any]":
    array: NDArray[Any] = tensor.detach().cpu().contiguous().numpy()
    return array


def _to_tensor(array: "NDArray[Any]") -> "Tensor":
    import torch

    return torch.from_numpy(array)


def not_finite(tensors: Mapping[str, "Tensor"]) -> Iterator[str]:
    """Yield the names of the tensors that hold infinities or NaN."""
    return (name for name, tensor in tensors.items() if not bool(tensor.isfinite().all()))
