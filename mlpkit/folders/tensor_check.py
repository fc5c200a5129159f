"""Checks that a checkpoint's tensors fit its config, before memory is allocated for them."""

import math
from collections.abc import Mapping

from mlpkit.config.config import Config
from mlpkit.config.loss import loss_for
from mlpkit.config.model import Shape
from mlpkit.config.problems import show
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders.trust import LARGEST_MODEL, Trust
from mlpkit.models.architecture import LARGEST, architecture, count, parameters, tensors
from mlpkit.system.tensor_file import TensorFile

SUMS, MOST_SUMS = "epoch/sums", 10  # of the scores of the rows whose outputs are not kept


def check_tensors(file: TensorFile, config: Config, input_schema: InputSchema, trust: Trust) -> None:
    """Check that a file has exactly the tensors that its config and input schema require.

    Raises:
        DataError: tensors are missing, extra, or of the wrong shape or dtype, or there are too many numbers.
    """
    path = file.path
    try:
        layers = architecture(config, input_schema)
        loss_for(config.loss, input_schema.task, config.dataset.name)
    except ConfigError as error:
        raise DataError(f"{path}: its config and its input schema do not go together ({error})") from None
    members = config.model.networks
    stacked = (members,) if members > 1 else ()  # the first axis of all tensors
    if (number := count(layers) * members) > LARGEST:
        raise DataError(f"{path}: its config asks for {number:,} parameters; mlpkit takes up to {LARGEST:,}")
    trust.check_model(number, path)
    total = sum(math.prod(entry.shape) for name, entry in file.entries.items() if name.startswith("epoch/"))
    if total > (LARGEST if trust.may_be_large else LARGEST_MODEL):
        raise DataError(f"{path}: its running epoch holds {total:,} numbers; --allow-large takes more")
    # A weight of another precision than the others would make the first matrix product fail.
    other = "F32" if config.trainer.precision == "float64" else "F64"
    numbers = {slot for slot, kind in config.optimizer.slots().items() if kind == "number"}  # always float32
    mixed = {name for name, e in file.entries.items() if e.kind == other and not _ends_in(name, numbers)}
    mixed -= {"novelty/distances", SUMS}  # always float64
    found = {name: (entry.shape, entry.kind != "I64") for name, entry in file.entries.items()}
    model = {name: ((*stacked, *shape), is_float) for name, (shape, is_float) in tensors(layers).items()}
    wanted = {f"model/{name}": about for name, about in model.items()}
    for kind in ("best", "raw") if config.trainer.has_averages else ("best",):
        if any(name.startswith(f"{kind}/") for name in found):
            wanted |= {f"{kind}/{name}": about for name, about in model.items()}
    if any(name.startswith("optimizer/") for name in found):
        for name, shape in parameters(layers).items():
            for slot, kind in config.optimizer.slots().items():
                own = () if kind == "number" else shape
                wanted[f"optimizer/{name}/{slot}"] = (*stacked, *own), True
    wanted |= _of_epoch(found, config.loss.width(input_schema.width), stacked)
    if "novelty/rows" in found:
        compared = found["novelty/rows"][0][:1]
        wanted["novelty/rows"] = (*compared, len(input_schema.features)), True
        wanted["novelty/distances"] = compared, True
    wrong = [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]
    wrong += sorted(mixed.difference(wrong))
    if wrong:
        names = ", ".join(show(name) if not name.isprintable() else name[:100] for name in wrong[:5])
        raise DataError(f"{path}: {len(wrong)} tensors are missing, extra, misshapen or mistyped: {names}")


def _ends_in(name: str, slots: set[str]) -> bool:
    return name.startswith("optimizer/") and name.rpartition("/")[2] in slots


def _of_epoch(
    found: Mapping[str, tuple[Shape, bool]], width: int, stacked: Shape
) -> dict[str, tuple[Shape, bool]]:
    """Return the shapes that the tensors of a running epoch must have: the same number of rows in each."""
    wanted: dict[str, tuple[Shape, bool]] = {}
    if "epoch/gradient_norm" in found:
        wanted["epoch/gradient_norm"] = (stacked, True)
    if SUMS in found:
        wanted[SUMS] = (min(found[SUMS][0], (MOST_SUMS,)), True)
    if "epoch/losses" in found:
        rows = *stacked, *found["epoch/losses"][0][len(stacked) :][:1]
        wanted |= {"epoch/losses": (rows, True), "epoch/outputs": ((*rows, width), True)}
        if "epoch/rows" in found:
            wanted["epoch/rows"] = (rows, False)
    return wanted
