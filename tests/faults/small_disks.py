"""Places in which there is little room: a file system of its own, or a limit on the size of files."""

import os
import resource
import signal
import subprocess
from pathlib import Path


class Unmountable(Exception):  # noqa: N818 - a test skips because of it
    """A file system cannot be mounted here."""


class Tmpfs:
    """A small file system in memory, in which a filler leaves as much room as is wanted."""

    SIZE = 1 << 24

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._mount("-t", "tmpfs", "-o", f"size={self.SIZE}", "tmpfs")

    def needed_by(self, folder: Path) -> int:
        """Return how much room a finished run takes here."""
        blocks = 4096
        sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return sum(-(-size // blocks) * blocks for size in sizes)

    def leave(self, size: int) -> None:
        """Leave room for so many bytes."""
        self.relax()
        about = os.statvfs(self.path)
        with (self.path / "filler").open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, about.f_bavail * about.f_frsize - size)

    def leave_names(self, number: int) -> None:
        """Leave room for so many files and folders."""
        about = os.statvfs(self.path)
        self._mount("-o", f"remount,nr_inodes={about.f_files - about.f_ffree + number}")

    def make_read_only(self) -> None:
        self._mount("-o", "remount,ro")

    def relax(self) -> None:
        """Leave plenty of room again."""
        self._mount("-o", "remount,rw,nr_inodes=10000")
        (self.path / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", self.path], check=True, capture_output=True)

    def _mount(self, *options: str) -> None:
        try:
            subprocess.run(["mount", *options, self.path], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            raise Unmountable(f"no file system can be mounted on {self.path}") from None


class FileSizeLimit:
    """A folder; no file may grow larger than a limit, which the system answers as it does a full disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self._handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write fails instead

    def needed_by(self, folder: Path) -> int:
        """Return the size of a finished run's largest file."""
        return max(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def leave(self, size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, self._before[1]))

    def relax(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)

    def close(self) -> None:
        self.relax()
        signal.signal(signal.SIGXFSZ, self._handler)
