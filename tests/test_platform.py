"""What stands in for what Windows lacks, switched on here: mlpkit asks `platform.sys` for the system."""

import os
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from running import content, train

from mlpkit.cli.main import run as command
from mlpkit.folders.run_folder import RunFolder
from mlpkit.sweeps import fork_server
from mlpkit.sweeps.groups import MAX_RUNS, max_open_runs
from mlpkit.system import atomic_write, free_cores, platform
from mlpkit.system.atomic_write import flushed_together, sync_folder

LINE = ("dataset=line", "model=linear", "trainer.epochs=2", "run.plots=false", "run.tensorboard=false")
NOT_IN_NAMES = re.compile(r'[<>:"\\|?*\0-\x1f]|[. ]$')  # of files on Windows


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "sys", SimpleNamespace(platform="win32"))


def flushes(monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    """Return how many flushes of a file the writing of two files takes that are flushed together."""
    count, fsync = 0, os.fsync

    def counted(descriptor: int) -> None:
        nonlocal count
        count += 1
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(atomic_write.os, "fsync", counted)
        with flushed_together():
            for name in "ab":
                atomic_write.atomic_write(folder / name, b"content")
    return count


def test_linux_flushes_files_together_and_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert flushes(monkeypatch, tmp_path) == 0
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")


def test_windows_flushes_each_file_and_no_folder(
    windows: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert flushes(monkeypatch, tmp_path) == 2
    sync_folder(tmp_path / "missing")


def test_windows_has_no_limits_users_or_forks(windows: None) -> None:
    assert platform.memory_limit() is None
    assert max_open_runs() == MAX_RUNS
    assert platform.interruptions() == platform.user_id() == 0
    assert platform.fails_in_a_fork(lambda: os._exit(1)) is False
    assert free_cores.Load().cores == range(os.cpu_count() or 1)
    assert platform.ticks_per_second() == platform.TICKS


def test_a_forked_process_says_whether_it_fails() -> None:
    assert platform.fails_in_a_fork(lambda: None) is False
    assert platform.fails_in_a_fork(lambda: os._exit(3)) is True
    assert platform.fails_in_a_fork(lambda: 1 // 0 and None) is True


def test_windows_trains_the_same(windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = train(tmp_path / "windows", *LINE)
    monkeypatch.undo()
    assert content(ours.last)["tensors"] == content(train(tmp_path / "linux", *LINE).last)["tensors"]


@pytest.mark.long
def test_processes_are_started_anew_without_a_server(
    windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fork_server.context().get_start_method() == "spawn"
    arguments = ["train", "-m", *LINE, "seed=1,2", "run.dir=outputs/sweep", "--launcher=processes"]
    assert command(arguments) == 0, capsys.readouterr().err
    first, second = sorted(Path("outputs/sweep").glob("0*-*"))
    assert content(RunFolder(first).last)["tensors"] != content(RunFolder(second).last)["tensors"]
    assert [str(path) for path in Path().rglob("*") if NOT_IN_NAMES.search(path.name)] == []


def test_a_temporary_folder_may_be_too_long_for_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    for length, method in ((70, "forkserver"), (71, "spawn")):
        monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * (length - 1))
        assert fork_server.context().get_start_method() == method
