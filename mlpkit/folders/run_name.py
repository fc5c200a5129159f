"""The name of a sweep's run, which says what varies, and its folder of TensorBoard's event files."""

import hashlib
import re
import stat
from pathlib import Path

from mlpkit.config.nested import shorten
from mlpkit.folders.may_change import MAY_CHANGE
from mlpkit.folders.overrides_file import read_overrides
from mlpkit.folders.run_folder import RunFolder, refuse_other_kind
from mlpkit.folders.sweep_folder import SweepFolder, is_sweep

LONGEST = 120  # bytes of a folder's name; Linux allows 255, and Windows 260 characters of a whole path
_NOT_ALLOWED = re.compile(r"[^\w.,=+@()\[\]{} -]")  # what Windows allows in no name, and more


def run_name(folder: RunFolder) -> str:
    """Return the settings of a run that vary in its sweep, as in `lr=0.01 seed=3`; empty without a sweep.

    It stays the same when the run is resumed with other settings: these stand at the end of `overrides.yaml`.
    """
    path = folder.path.resolve()
    if not is_sweep(path.parent):
        return ""
    shared = read_overrides(SweepFolder(path.parent).overrides)
    first: dict[str, str] = {}  # of each key
    for line in read_overrides(folder.overrides):
        first.setdefault(_key(line), line)
    given_later = set(MAY_CHANGE) - set(map(_key, shared))
    values = {
        key: line.partition("=")[2]
        for key, line in first.items()
        if line not in shared and key not in given_later and not key.startswith("run.")
    }
    return " ".join(f"{shorten(key, list(values))}={value}" for key, value in values.items())


def _key(line: str) -> str:
    return line.partition("=")[0].lstrip("+~")


def file_name(name: str) -> str:
    """Return a name as one that every system allows for a folder; a hash keeps changed names apart."""
    allowed = _NOT_ALLOWED.sub("_", name).encode()[:LONGEST].decode(errors="ignore").strip(" .")
    if allowed == name:
        return name
    return f"{allowed} {hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:6]}".strip()


def events_folder(folder: RunFolder, name: str | None = None) -> Path:
    """Return the folder of a run's event files.

    TensorBoard names runs by their folders. So those of a sweep lie in the sweep's `tensorboard/`, by the
    names of the runs. A run that has event files of its own, as in sweeps of older versions, keeps them.

    Args:
        folder: the run folder.
        name: its `run_name`, if that is known already.

    Raises:
        DataError: the folder, or that of the sweep, is a link.
    """
    name = run_name(folder) if name is None else name
    if not name or folder.tensorboard.exists():
        return folder.tensorboard
    of_sweep = SweepFolder(folder.path.resolve().parent).tensorboard
    found = of_sweep / file_name(name)
    for path in (of_sweep, found):
        refuse_other_kind(path, stat.S_ISDIR, "folder")
    return found
