"""film.bin: the weights of a run every few epochs, for `mlpkit film`; written, read, and cut at a resume.

A line of JSON (`format`, `every`, `tensors`: each tensor's shape by name), then frames of equal length: the
epoch as a little-endian int64, then all tensors, in that order, as little-endian float32. A frame that a
killed process has left half written is ignored.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpkit.errors import ConfigError, DataError
from mlpkit.system.append_file import AppendFile
from mlpkit.system.atomic_write import atomic_write
from mlpkit.system.plain_json import regular_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shapes = Mapping[str, tuple[int, ...]]

FORMAT = 1
MOST_FRAMES = 256
MOST_BYTES = 1 << 25  # of a film
LEAST_FRAMES = 8  # of a film; networks too large for these have none
LARGEST_HEADER = 1 << 16
_AT_ONCE = 1 << 16  # bytes that are written together
_EPOCH = 8  # bytes


def spacing(epoch: int, every: int, most: int) -> int:
    """Return the epochs between two frames of a film until an epoch: `every`, or 2, 4, 8 … times that.

    It depends on nothing else, so a resumed run continues the film as an uninterrupted one would.

    Args:
        epoch: epochs done.
        every: run.film.
        most: the most frames.
    """
    while epoch // every >= most:
        every *= 2
    return every


class FilmFile:
    """Writes the film of a run. Frames are collected and written together, since steps may be very short."""

    def __init__(self, path: Path, every: int, shapes: Shapes, epoch: int) -> None:
        """Begin the film; of a resumed run, keep the frames up to an epoch.

        Args:
            path: the file.
            every: run.film, the epochs between two frames.
            shapes: the tensors' shapes by name.
            epoch: epochs done.

        Raises:
            ConfigError: the network is so large that a film would have next to no frames.
            WriteError: the file cannot be written.
        """
        self.path, self.every = path, every
        self._shapes = {name: list(shape) for name, shape in shapes.items()}
        header = {"format": FORMAT, "every": every, "tensors": self._shapes}
        self._header = json.dumps(header).encode() + b"\n"
        self._size = _EPOCH + 4 * sum(map(prod, self._shapes.values()))
        self._most = min(MOST_FRAMES, MOST_BYTES // self._size)
        if self._most < LEAST_FRAMES or len(self._header) > LARGEST_HEADER:
            raise ConfigError(
                f"run.film={every}: a frame of this network has {self._size / 1e6:,.0f} MB, and a film "
                f"at most {MOST_BYTES / 1e6:.0f} MB; leave run.film out"
            )
        self._pending: list[bytes] = []
        self._spacing = spacing(epoch, every, self._most)
        self._last = self._keep_until(epoch)

    def add(self, epoch: int, weights: bytes) -> None:
        """Add a frame, if one is due and it is not there yet.

        Raises:
            WriteError: the file cannot be written.
        """
        if epoch <= self._last:
            return
        if (wider := spacing(epoch, self.every, self._most)) > self._spacing:  # drop every other frame
            self.flush()
            self._spacing = wider
            self._keep_until(epoch)
        if epoch % self._spacing == 0:
            self._pending.append(epoch.to_bytes(_EPOCH, "little") + weights)
            self._last = epoch
            if len(self._pending) * self._size >= _AT_ONCE:
                self.flush()

    def flush(self, to_disk: bool = False) -> None:
        """Write the collected frames.

        Args:
            to_disk: also wait until they are on the disk: they must be there before a checkpoint is.

        Raises:
            WriteError: they cannot be written.
        """
        if not self._pending:
            return
        file = AppendFile(self.path)
        try:
            file.write(b"".join(self._pending))
            self._pending = []
            if to_disk:
                file.sync()
        finally:
            file.close()

    def _keep_until(self, epoch: int) -> int:
        """Rewrite the file with the frames up to an epoch that are still wanted; return the last epoch."""
        kept, last = [self._header], -1
        try:
            found = _split(self.path)
        except DataError:  # missing or damaged: the film begins here
            found = None
        if found is not None and found[0].get("tensors") == self._shapes:
            for frame in found[1]:
                of_frame = int.from_bytes(frame[:_EPOCH], "little")
                if last < of_frame <= epoch and of_frame % self._spacing == 0:
                    kept.append(frame)
                    last = of_frame
        atomic_write(self.path, b"".join(kept))
        return last


@dataclass(frozen=True)
class Film:
    """The frames of a run.

    Attributes:
        epochs: the epoch of each frame, rising; 0 is the untrained network.
        tensors: (frames, *shape) float32 by name.
    """

    epochs: list[int]
    tensors: "dict[str, NDArray[Any]]"


def read_film(path: Path) -> Film:
    """Return the film of a run, which may be foreign.

    Raises:
        DataError: there is none, or it is damaged.
    """
    import numpy as np

    header, frames = _split(path)
    epochs = [int.from_bytes(frame[:_EPOCH], "little") for frame in frames]
    if not epochs or any(b <= a for a, b in pairwise(epochs)) or epochs[-1] >= 1 << 53:
        raise DataError(f"{path}: damaged, or no frame yet; train the run again with run.film=N")
    values = np.stack([np.frombuffer(frame, "<f4", offset=_EPOCH) for frame in frames])
    shapes: dict[str, list[int]] = header["tensors"]
    ends = np.cumsum([prod(shape) for shape in shapes.values()])[:-1]
    parts = np.split(values, ends, axis=1)
    tensors = {
        name: part.reshape(len(epochs), *shape)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
    return Film(epochs, tensors)


def _split(path: Path) -> tuple[dict[str, Any], list[bytes]]:
    """Return the header and the whole frames of a film."""
    regular_file(path)
    try:
        with path.open("rb") as stream:
            line = stream.readline(LARGEST_HEADER + 1)
            header = _header(line)
            if header is None:
                raise DataError(
                    f"{path}: not a film that this mlpkit can read; train the run again with run.film=N"
                )
            size = _EPOCH + 4 * sum(map(prod, header["tensors"].values()))
            content = stream.read(min(2 * MOST_BYTES, 2 * MOST_FRAMES * size))  # a film has no more
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    return header, [content[at : at + size] for at in range(0, len(content) - size + 1, size)]


def _header(line: bytes) -> dict[str, Any] | None:
    """Return the header of a film; None if this mlpkit does not write such a line."""
    try:
        found = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    is_film = isinstance(found, dict) and found.get("format") == FORMAT and _are_shapes(found.get("tensors"))
    return found if is_film else None


def _are_shapes(found: object) -> bool:
    """Whether the header's tensors are shapes of a network of which several frames fit into a film."""
    if not isinstance(found, dict) or not found:
        return False
    shapes = list(found.values())
    if not all(isinstance(shape, list) and len(shape) <= 2 for shape in shapes):
        return False
    sizes = [size for shape in shapes for size in shape]
    are_sizes = all(type(size) is int and 0 < size <= MOST_BYTES for size in sizes)
    return are_sizes and sum(map(prod, shapes)) <= MOST_BYTES // 4
