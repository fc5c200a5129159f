"""The origin of a forked run: fork.json names the run and the step at which it branches off."""

import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlpkit.errors import DataError
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.plain_json import read_object, write_json


@dataclass(frozen=True)
class Fork:
    """Where a run branches off from another.

    Attributes:
        run: the path of the other run; in fork.json, from the branch's folder.
        step: number of steps that both share.
        epoch: number of whole epochs that both share.
    """

    run: str
    step: int
    epoch: int


class _Stored(BaseModel):
    model_config = ConfigDict(strict=True)

    run: str = Field(max_length=4096)
    step: int = Field(ge=0, lt=2**53)
    epoch: int = Field(ge=0, lt=2**53)


def write_fork(folder: RunFolder, fork: Fork) -> None:
    """Write fork.json.

    Raises:
        WriteError: it cannot be written.
    """
    run = Path(fork.run).resolve()
    with suppress(ValueError):  # on another drive of Windows
        run = Path(os.path.relpath(run, folder.path.resolve()))
    write_json(folder.fork, asdict(replace(fork, run=run.as_posix())))


def read_fork(path: Path) -> Fork | None:
    """Return where a run branches off; None if it is not a fork, or fork.json cannot be read."""
    file = RunFolder(path).fork
    if file.is_symlink() or not file.exists():
        return None
    try:
        fork = Fork(**_Stored.model_validate(read_object(file)).model_dump())
    except (DataError, ValidationError):
        return None
    run = Path(os.path.normpath(path.resolve() / fork.run))
    with suppress(ValueError):  # elsewhere: the whole path is shown
        run = run.relative_to(Path.cwd())
    return replace(fork, run=str(run))


def fork_of(sweep: Path) -> Fork | None:
    """Return where all runs of a sweep branch off; None if they are not the branches of one fork."""
    forks = {read_fork(path) for path in sorted(sweep.iterdir()) if RunFolder(path).is_run}
    return forks.pop() if len(forks) == 1 else None
