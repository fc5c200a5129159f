"""One writer: who else tries is told who writes, and a lock does not outlive its holder."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlpkit.errors import LockedError, WriteError
from mlpkit.system.lock import is_held, locked

HOLD = """
import sys
from pathlib import Path
from mlpkit.system.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds a lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_writer_is_told_of_the_first(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    path = tmp_path / ".lock"
    with pytest.raises(LockedError) as caught, locked(path):
        pass
    assert caught.value.exit_code == 75
    assert str(caught.value) == (
        f"{tmp_path}: in use by process {holder.pid} on {socket.gethostname()}; "
        "wait until it has ended, or stop it"
    )
    holder.kill()
    holder.wait()
    assert path.exists()  # the killed process had no time to remove it
    with locked(path):
        assert path.read_text() == f"\0process {os.getpid()} on {socket.gethostname()}\n"
    assert not path.exists()


def test_who_waits_gets_it_when_the_holder_has_ended(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.stdin is not None
    with locked(tmp_path / ".lock", before_wait=holder.stdin.close):  # at which the holder ends
        assert holder.wait() == 0
        assert is_held(tmp_path / ".lock")
        with pytest.raises(LockedError), locked(tmp_path / ".lock"):
            pass
    assert not (tmp_path / ".lock").exists()


def test_the_same_process_cannot_take_it_twice(tmp_path: Path) -> None:
    with locked(tmp_path / ".lock"), pytest.raises(LockedError), locked(tmp_path / ".lock"):
        pass


def test_an_error_frees_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / ".lock"):
        raise KeyError
    with locked(tmp_path / ".lock"):
        pass


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(WriteError) as caught, locked(tmp_path / ".lock"):
        pass
    reason = "Too many levels of symbolic links"
    assert str(caught.value) == f"{tmp_path}/.lock: cannot be written ({reason}); remove the link"
    assert (tmp_path / "precious").read_text() == "precious"
