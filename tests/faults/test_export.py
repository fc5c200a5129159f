"""An export that is killed, or finds a full disk, leaves the earlier export or a new one, whole."""

import hashlib
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from faults.counts import count
from faults.processes import start
from faults.small_disks import Tmpfs, Unmountable
from mlpkit.cli.main import run as command

SMALL = ("dataset=moons", "model=logistic", "trainer.epochs=1", "run.plots=false", "run.progress=none")
CHANGES = ("open", "os.rename", "os.mkdir", "os.chmod", "os.remove", "os.rmdir", "subprocess.Popen")


def kill_at(stop: int, parent: Path) -> None:
    """Have this process kill itself before it changes files below a folder for the stop-th time."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in CHANGES or (event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
            return
        if str(parent) in str(arguments):
            seen += 1
            if seen == stop:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def threshold(folder: Path) -> float | None:
    """Return the threshold of an export, which must be whole; None if there is none."""
    if not folder.exists():
        return None
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json", "MODEL_CARD.md"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert (folder / "MODEL_CARD.md").read_text(encoding="utf-8").endswith("|\n")
    return float(manifest["threshold"])


@pytest.mark.long
def test_killed_anywhere(tmp_path: Path) -> None:
    run, parent = tmp_path / "run", tmp_path / "exports"
    parent.mkdir()
    assert command(["train", *SMALL, f"run.dir={run}"]) == 0
    export = ("export", str(run), "--format", "python", "--output", str(parent / "out"), "--threshold")
    found, stop, was_killed = list[float | None](), 1, True
    while was_killed:
        assert command([*export, "0.3"]) == 0
        running = start(tmp_path, *export, "0.6", prepare=partial(kill_at, stop, parent))
        was_killed = running.wait() != 0
        found.append(threshold(parent / "out"))
        stop += count(4, 1)
    assert stop > 10
    assert found[0] == 0.3 and found[-1] == 0.6
    # Between two renames neither is there.
    assert found.count(None) <= 1
    assert all(path.name == "out" or path.name.startswith(".mlpkit.") for path in parent.iterdir())


@pytest.mark.long
def test_a_full_disk_keeps_the_earlier_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert command(["train", *SMALL, f"run.dir={run}"]) == 0
    try:
        disk = Tmpfs(tmp_path / "disk")
    except Unmountable as error:
        pytest.skip(str(error))
    out = disk.path / "out"
    export = ("export", str(run), "--format", "python", "--threshold")
    try:
        assert command([*export, "0.3", "--output", str(out)]) == 0
        capsys.readouterr()
        for room in (0, 8192):
            disk.leave(room)
            code = command([*export, "0.6", "--output", str(out)])
            said = capsys.readouterr().err
            assert code == 74 and said.startswith(f"mlpkit: {out}") and said.count("\n") == 1, said
            assert said.endswith("(No space left on device); free some space\n")
            assert threshold(out) == 0.3
            assert {path.name for path in disk.path.iterdir()} == {"out", "filler"}
        disk.relax()
        assert command([*export, "0.6", "--output", str(disk.path)]) == 2
        said = capsys.readouterr().err
        assert (
            said
            == f"mlpkit: --output={disk.path}: is a disk, which cannot be replaced; name a folder in it\n"
        )
        disk.make_read_only()
        assert command([*export, "0.6", "--output", str(out)]) == 74
        said = capsys.readouterr().err
        assert said.endswith("(Read-only file system); choose a place that can be written to\n")
        assert threshold(out) == 0.3
    finally:
        disk.close()
