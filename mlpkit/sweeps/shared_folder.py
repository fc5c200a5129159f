"""Checks before the first job that workers on other machines have this mlpkit and the sweep's folder."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlpkit.errors import ConfigError, reason_of
from mlpkit.system.failed_write import failed_write


@contextmanager
def write_probe(folder: Path) -> Iterator[Path]:
    """Make a folder with a file that only this sweep knows; it is removed after the block.

    Raises:
        WriteError: it cannot be written.
    """
    probe = folder / f".probe-{secrets.token_hex(8)}"
    try:
        probe.mkdir()
        (probe / "sweep").write_text(probe.name)
    except OSError as error:
        raise failed_write(probe, error) from None
    try:
        yield probe
    finally:
        with suppress(OSError):
            for file in probe.iterdir():
                file.unlink()
            probe.rmdir()


def make_probe(path: str) -> Callable[[], dict[str, Any]]:
    """Return a function for a worker, where mlpkit may be missing: so it is made here, and sent as it is.

    The function returns the worker's version of mlpkit, its number of cores, and the name of the file that it
    has written, or why it could not.
    """

    def probe() -> dict[str, Any]:
        import os
        import uuid
        from importlib.metadata import PackageNotFoundError, version
        from pathlib import Path

        found: dict[str, Any] = {"version": None, "cores": os.cpu_count() or 1, "file": None, "error": ""}
        try:
            found["version"] = version("mlpkit")
            if hasattr(os, "sched_getaffinity"):
                found["cores"] = len(os.sched_getaffinity(0))
            text, answer = (Path(path) / "sweep").read_text(), uuid.uuid4().hex
            (Path(path) / answer).write_text(text)
            found["file"] = answer
        except PackageNotFoundError:
            pass
        except OSError as error:
            found["error"] = error.strerror or type(error).__name__
        return found

    return probe


def check_answers(launcher: str, answers: Mapping[str, Any], probe: Path, wanted: str) -> None:
    """Check what the workers answer.

    Args:
        launcher: the option, for the error.
        answers: what `make_probe`'s function has returned or raised, by worker.
        probe: from `write_probe`.
        wanted: version of mlpkit.

    Raises:
        ConfigError: a worker lacks something.
    """
    for worker, answer in answers.items():
        if isinstance(answer, BaseException):
            raise ConfigError(f"{launcher}: worker {worker} cannot answer ({reason_of(answer)})")
        if answer["version"] is None:
            raise ConfigError(f"{launcher}: worker {worker} has no mlpkit; install {wanted} there")
        if answer["version"] != wanted:
            raise ConfigError(
                f"{launcher}: worker {worker} has mlpkit {answer['version']}, and this is {wanted}; "
                "install the same"
            )
        shared = f"set run.root to a folder that all workers share at {probe.parent}"
        if answer["file"] is None:
            raise ConfigError(
                f"{launcher}: worker {worker} cannot write into the folder ({answer['error']}); {shared}"
            )
        try:
            same = (probe / answer["file"]).read_text() == probe.name
        except OSError:
            same = False
        if not same:
            raise ConfigError(f"{launcher}: worker {worker} has another folder of that name; {shared}")
