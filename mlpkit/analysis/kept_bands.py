"""Bands of settings with very many runs, kept until one of the runs changes.

To read the curves of a run takes some milliseconds. Here a setting's bands cost a look at each file.
As the index of runs, this is a cache: it may be deleted at any time.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from mlpkit.analysis.bands import Band, bands_of
from mlpkit.analysis.compare import Setting
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_index import are_old, connect, index_file, not_damaged, stamp_of
from mlpkit.version import __version__

NAME = "bands-1.sqlite"  # another number for another table
LEAST = 100  # runs of a setting that is kept
MOST = 2_000  # settings that are kept: the newest

_TABLE = "CREATE TABLE IF NOT EXISTS bands (number INTEGER PRIMARY KEY, key BLOB UNIQUE, content TEXT)"
_OLDEST = "DELETE FROM bands WHERE number <= (SELECT max(number) FROM bands) - ?"
_METRICS = f"{os.sep}{RunFolder(Path()).metrics}"
_ARRAYS = ("steps", "mean", "low", "high")


def kept_bands(setting: Setting, warn: Callable[[str], None]) -> list[Band]:
    """Return what `bands_of` returns: kept bands if no run has changed since, else new ones, which are kept.

    Bands are not kept if a run cannot be read, has changed within the last two seconds, or has a link for its
    curves, which may change without the link.
    """
    if len(setting.runs) < LEAST:
        return bands_of(setting, warn)
    folders = [run.folder for run in setting.runs.values()]
    stamps = [stamp_of(folder + _METRICS) for folder in folders]
    text = "\n".join((__version__, str(Path.cwd()), *folders, *stamps))
    key = hashlib.sha256(os.fsencode(text)).digest()
    if (found := _find(key)) is not None:
        return found
    problems: list[str] = []
    bands = bands_of(setting, problems.append)
    for problem in problems:
        warn(problem)
    if not (problems or any(Path(folder + _METRICS).is_symlink() for folder in folders)) and are_old(stamps):
        _keep(key, bands)
    return bands


def _find(key: bytes) -> list[Band] | None:
    """Return the bands that are kept, or None."""
    file = index_file(NAME)
    if file is None or not file.exists():
        return None
    with not_damaged(file), closing(connect(file)) as connection:
        for (content,) in connection.execute("SELECT content FROM bands WHERE key = ?", (key,)):
            with suppress(ValueError, TypeError, OverflowError, RecursionError):
                return [_band(*parts) for parts in json.loads(content)]
    return None


def _keep(key: bytes, bands: list[Band]) -> None:
    content = [
        [band.score, band.split, *(getattr(band, name).tolist() for name in _ARRAYS)] for band in bands
    ]
    file = index_file(NAME)
    if file is None:
        return
    with suppress(OSError), not_damaged(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(connect(file)) as connection, connection:
            connection.execute(_TABLE)
            values = (key, json.dumps(content))
            connection.execute("INSERT OR REPLACE INTO bands (key, content) VALUES (?, ?)", values)
            connection.execute(_OLDEST, (MOST,))


def _band(score: str, split: str, steps: list[int], *values: list[float]) -> Band:
    mean, low, high = (np.array(each, dtype=np.float64) for each in values)
    if {each.shape for each in (mean, low, high)} != {(len(steps),)}:
        raise ValueError("a damaged cache")
    return Band(score, split, np.array(steps, dtype=np.int64), mean, low, high)
