"""One writer: who else tries is told who writes, and a lock does not outlive its holder."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mlpkit.errors import LockedError, WriteError
from mlpkit.system.lock import locked

HOLD = """
import sys
from pathlib import Path
from mlpkit.system.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "run" / ".lock"
    path.parent.mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LockedError) as caught, locked(path):
        pass
    assert caught.value.exit_code == 75
    assert str(caught.value) == (
        f"{path.parent}: in use by process {holder.pid} on {socket.gethostname()}; "
        "wait until it has ended, or stop it"
    )
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    assert path.exists()  # the killed process had no time to remove it
    with locked(path):
        assert path.read_text() == f"\0process {os.getpid()} on {socket.gethostname()}\n"
    assert not path.exists()


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
