"""What a stranger's checkpoint may ask for: the tensors of its own config, of a size that is expected."""

import math
from collections.abc import Mapping
from pathlib import Path

from mlpkit.config.config import Config
from mlpkit.config.dataset import DatasetConfig, Synthetic
from mlpkit.config.problems import show
from mlpkit.data.signature import Signature
from mlpkit.errors import ConfigError, DataError
from mlpkit.files.tensor_file import TensorFile
from mlpkit.models.architecture import LARGEST, architecture, count, parameters, tensors
from mlpkit.runs.state import Scores

LARGEST_DRAWN = 4_000_000  # numbers of a dataset
LARGEST_OPENED = 25_000_000  # parameters: 100 MB, and four times as much with Adam's averages


def check_tensors(file: TensorFile, config: Config, signature: Signature, allow_large: bool) -> None:
    """Compare a file's tensors with those of its config, before memory is taken for either.

    Raises:
        DataError: they are others, or more than LARGEST_OPENED without allow_large.
    """
    path = file.path
    try:
        layers = architecture(config, signature)
    except ConfigError as error:
        raise DataError(f"{path}: its config and its signature do not go together ({error})") from None
    if (number := count(layers)) > LARGEST:
        raise DataError(f"{path}: its config asks for {number:,} parameters; mlpkit takes up to {LARGEST:,}")
    if number > LARGEST_OPENED and not allow_large:
        raise DataError(f"{path}: its config asks for {number:,} parameters; --allow-large takes them")
    running = sum(math.prod(entry.shape) for name, entry in file.entries.items() if name.startswith("epoch/"))
    if running > (LARGEST if allow_large else LARGEST_OPENED):
        raise DataError(f"{path}: its running epoch holds {running:,} numbers; --allow-large takes more")
    # A weight in another precision than its neighbours' would stop the first product.
    other = "F32" if config.trainer.precision == "float64" else "F64"
    numbers = {slot for slot, kind in config.optimizer.slots().items() if kind == "number"}  # always float32
    mixed = {name for name, e in file.entries.items() if e.kind == other and not _ends_in(name, numbers)}
    found = {name: (entry.shape, entry.kind != "I64") for name, entry in file.entries.items()}
    model = tensors(layers)
    wanted = {f"model/{name}": about for name, about in model.items()}
    if any(name.startswith("best/") for name in found):
        wanted |= {f"best/{name}": about for name, about in model.items()}
    if any(name.startswith("optimizer/") for name in found):
        for name, shape in parameters(layers).items():
            for slot, kind in config.optimizer.slots().items():
                wanted[f"optimizer/{name}/{slot}"] = ((), True) if kind == "number" else (shape, True)
    wanted |= _of_epoch(found, signature.width)
    wrong = [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]
    wrong += sorted(mixed.difference(wrong))
    if wrong:
        names = ", ".join(show(name) if not name.isprintable() else name[:100] for name in wrong[:5])
        raise DataError(f"{path}: {len(wrong)} tensors are missing, extra, misshapen or mistyped: {names}")


def _ends_in(name: str, slots: set[str]) -> bool:
    return name.startswith("optimizer/") and name.rpartition("/")[2] in slots


def _of_epoch(
    found: Mapping[str, tuple[tuple[int, ...], bool]], width: int
) -> dict[str, tuple[tuple[int, ...], bool]]:
    """Return what the tensors of a running epoch must be: as many rows in each, as many as there are."""
    wanted: dict[str, tuple[tuple[int, ...], bool]] = {}
    if "epoch/gradient_norm" in found:
        wanted["epoch/gradient_norm"] = ((), True)
    if "epoch/losses" in found:
        rows = found["epoch/losses"][0][:1]
        wanted |= {"epoch/losses": (rows, True), "epoch/outputs": ((*rows, width), True)}
        if "epoch/rows" in found:
            wanted["epoch/rows"] = (rows, False)
    return wanted


def refuse_large(config: DatasetConfig, features: int, path: Path) -> None:
    """Refuse a dataset that a checkpoint asks to be drawn and that would take more memory than is expected.

    Raises:
        DataError: it has more than LARGEST_DRAWN numbers.
    """
    if isinstance(config, Synthetic):
        numbers = config.n * features
        if numbers > LARGEST_DRAWN:
            raise DataError(f"{path}: its dataset draws {numbers:,} numbers; --allow-large takes them")


def are_plain(by_split: Mapping[str, Scores]) -> bool:
    """Whether scores are such as a run has: the same ones for each split, with plain names."""
    rows = [set(scores) for scores in by_split.values()]
    names = {*by_split, *(name for row in rows for name in row)}
    few = len(by_split) <= 3 and len(names) <= 100
    return few and all(row == rows[0] for row in rows) and all(map(_is_plain, names))


def _is_plain(name: str) -> bool:
    return name.isidentifier() and len(name) <= 100
