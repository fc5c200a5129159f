"""Opens hostile checkpoints and run folders under an audit hook, and prints what they achieved as JSON.

A process of its own, in an empty folder: `python -m faults.watched EVERY`. Each EVERY-th case is tried.
"""

import faulthandler
import gc
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from running import train

import mlpkit
from faults.hostile_files import CANARIES, Case, all_cases
from mlpkit.cli.main import run

SECONDS = 2.0  # of the processor, for a command
BYTES = 500_000_000  # by which a command may make the process larger
CODES = (0, 2, 65, 74, 75)
HANGS = 20  # seconds after which a command is taken for one that waits for ever

# Events that nothing in a file may cause.
NEVER = (
    "cpython.run_",
    "marshal.loads",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "os.system",
    "pickle.find_class",
    "pty.spawn",
    "socket.",
    "subprocess.Popen",
    "urllib.",
    "webbrowser.",
)
IMPORTER = "importlib._bootstrap_external"
HARMLESS = ("socket.gethostname",)  # which the lock's file says
CHANGES = (  # events that change the file system, with one or two paths
    "os.chflags",
    "os.chmod",
    "os.chown",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.setxattr",
    "os.symlink",
    "os.truncate",
    "os.utime",
    "shutil.",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
LIBRARIES = (
    *(os.path.realpath(path) for path in (sys.prefix, sys.base_prefix)),
    str(Path(mlpkit.__file__).resolve().parent),
)


class NotAllowedError(Exception):
    """What the hook raises, so that nothing happens in earnest."""


class Watch:
    """Notes what a command does that it must not."""

    def __init__(self) -> None:
        self.folder: str | None = None  # of the run that is being opened; None while nothing is watched
        self.found: list[str] = []
        sys.addaudithook(self._see)

    @contextmanager
    def of(self, folder: Path) -> Iterator[None]:
        self.found, self.folder = [], os.path.realpath(folder)
        try:
            yield
        finally:
            self.folder = None

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        folder = self.folder
        if folder is None:
            return
        self.folder = None  # what the hook itself does is not watched
        try:
            problem = self._problem(event, arguments, folder)
            if problem:
                self.found.append(problem)
                raise NotAllowedError(problem)
        finally:
            self.folder = folder

    def _problem(self, event: str, arguments: tuple[Any, ...], folder: str) -> str | None:
        if event == "marshal.loads" and sys._getframe(2).f_globals.get("__name__") == IMPORTER:
            return None  # a module of a library, such as the codec that a text asks for; see `import`
        if event.startswith(NEVER) and event not in HARMLESS:
            return f"{event} {str(arguments)[:200]}"
        if event == "import" and str(arguments[0]).split(".")[0] in CANARIES:
            return f"import {arguments[0]}"
        if event == "exec" and not str(arguments[0].co_filename).startswith((*LIBRARIES, "<frozen ")):
            return None if is_of_types(arguments) else f"exec {arguments[0].co_filename}"
        if event == "compile" and not str(arguments[1]).startswith(LIBRARIES):
            return None if is_of_types(arguments) else f"compile {str(arguments)[:200]}"
        if event == "open" and (arguments[2] or 0) & WRITING:
            follows = not arguments[2] & getattr(os, "O_NOFOLLOW", 0)
            if not is_inside(arguments[0], folder, follows):
                return f"open for writing {arguments[0]!r}"
        if event.startswith(CHANGES):
            paths = [path for path in arguments[:2] if isinstance(path, str | bytes | os.PathLike)]
            paths = paths[1:] if event == "os.symlink" else paths
            if outside := [path for path in paths if not is_inside(path, folder, follows=False)]:
                return f"{event} {outside[0]!r}"
        return None


def is_of_types(arguments: tuple[Any, ...]) -> bool:
    """Whether Python's own modules read an annotation of a library or make one of its classes."""
    frame = sys._getframe(3)  # behind this function, the hook and its method
    module = frame.f_globals.get("__name__")
    return module in ("typing", "dataclasses", "collections", "enum") and "canary" not in str(arguments)


def is_inside(path: Any, folder: str, follows: bool) -> bool:
    if isinstance(path, int):
        return True  # it has been opened before
    path = os.fsdecode(path)
    real = os.path.realpath(path) if follows else resolve_above(path)
    return real == folder or real.startswith(folder + os.sep)


def resolve_above(path: str) -> str:
    """Return the path with all links resolved but that of its last name."""
    above, name = os.path.split(os.path.abspath(path))  # noqa: PTH100
    return os.path.join(os.path.realpath(above), name)  # noqa: PTH118


@contextmanager
def redirected() -> Iterator[tuple[TextIO, TextIO]]:
    """Send what the process says, in Python and below, to two files."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        kept = os.dup(1), os.dup(2)
        try:
            for number, stream in ((1, out), (2, err)):
                os.dup2(stream.fileno(), number)
            yield out, err
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, old in enumerate(kept, 1):
                os.dup2(old, number)
                os.close(old)


def memory(name: str) -> int:
    """Return a figure of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


class Opener:
    """Runs commands on hostile folders."""

    def __init__(self, watch: Watch) -> None:
        self.watch, self.error = watch, os.fdopen(os.dup(2), "w")
        self.problems: list[str] = []
        self.slowest: tuple[float, str] = (0.0, "")
        self.largest: tuple[int, str] = (0, "")
        self.codes: dict[int, int] = {}

    def open(self, label: str, folder: Path, arguments: list[str], codes: tuple[int, ...]) -> None:
        """Run one command and note all that is wrong with it."""
        found: list[str] = []
        faulthandler.dump_traceback_later(HANGS, exit=True, file=self.error)
        print(f"at {label}", file=self.error, flush=True)
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from what is used now
        before, code = memory("VmRSS"), -1
        with redirected() as (out, err):
            started = time.process_time()
            try:
                with self.watch.of(folder):
                    code = run(arguments)
            except BaseException:
                found.append("traceback: " + " | ".join(traceback.format_exc().splitlines()[-5:]))
            seconds = time.process_time() - started
            sys.stdout.flush()
            sys.stderr.flush()
            said = []
            for stream in (out, err):
                stream.seek(0)
                said.append(os.fsencode(stream.read()).decode("utf-8", "replace"))
        grown = memory("VmHWM") - before
        faulthandler.cancel_dump_traceback_later()
        self.codes[code] = self.codes.get(code, 0) + 1
        self.slowest = max(self.slowest, (seconds, label))
        self.largest = max(self.largest, (grown, label))
        found += self.watch.found
        if code not in codes and not found:
            found.append(f"exit code {code}, not one of {codes}: {said[1][:300]!r}")
        if seconds > SECONDS:
            found.append(f"{seconds:.1f} s")
        if grown > BYTES:
            found.append(f"{grown:,} bytes")
        for name, text in zip(("stdout", "stderr"), said, strict=True):
            odd = {c for c in text if c != "\n" and not c.isprintable()}
            if odd:
                found.append(f"{name} holds {sorted(odd)[:5]!r}")
        if "Traceback" in said[1] or "Warning" in said[1]:
            found.append(f"stderr: {said[1][:300]!r}")
        if code not in (0, -1) and not said[1].strip():
            found.append("says nothing")
        self.problems += [f"{label}: {problem}" for problem in found]
        for problem in found:
            print(f"problem: {problem[:400]}", file=self.error, flush=True)


def make_runs(root: Path) -> Path:
    """Train a harmless run that has one more epoch to go; each case begins as a copy of it."""
    settings = ("dataset=moons", "dataset.n=60", "model=mlp", "model.hidden=[4]", "run.plots=false")
    slow = ("trainer.batch_size=12", "trainer.checkpoint_every=1", "optimizer.lr=0.3")
    folder = train(root, "trainer.epochs=3", *settings, *slow)
    folder.config.write_text(folder.config.read_text().replace("epochs: 3", "epochs: 4"))
    return folder.path


def commands_of(case: Case, folder: Path) -> Iterator[list[str]]:
    for line in case.commands:
        yield [word.replace("RUN", str(folder)) for word in line]


def state_of(folder: Path) -> dict[str, bytes | str | None]:
    """Return all that lies in a folder, with its content."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = str(path.readlink())
        else:
            found[str(path)] = path.read_bytes() if path.is_file() else None
    return found


def fresh(path: Path, make: Callable[[Path], object]) -> None:
    shutil.rmtree(path, ignore_errors=True)
    make(path)


def make_outside(path: Path) -> None:
    """Make a folder beside the run that nothing may touch."""
    (path / "folder").mkdir(parents=True)
    (path / "file.json").write_text('{"canary": true}\n')
    (path / "folder" / "curves.png").write_text("a canary")


def main(every: int) -> None:
    here = Path.cwd()
    for name in CANARIES:  # they could be imported: this folder is on Python's path
        (here / f"{name}.py").write_text("from pathlib import Path\nPath('imported').touch()\n")
    harmless = make_runs(here / "harmless")
    watch = Watch()
    opener = Opener(watch)
    cases = all_cases()
    copy = here / "warm"
    for line in Case("warm", lambda folder: None).commands * 2:  # what they import and cache is not counted
        fresh(copy, lambda path: shutil.copytree(harmless, path))
        with redirected():
            assert run([word.replace("RUN", str(copy)) for word in line]) == 0, line
    gc.freeze()  # what the warm-up has made is no garbage of the cases, and takes long to look through
    outside = here / "outside"
    for case in cases[::every]:
        place = here / "case"
        fresh(place, Path.mkdir)
        folder = place / case.folder
        shutil.copytree(harmless, folder)
        fresh(outside, make_outside)
        case.change(folder)
        before, kept = state_of(outside), place / "kept"
        folder.rename(kept)
        for arguments in commands_of(case, folder):
            shutil.rmtree(folder, ignore_errors=True)
            copy_as_it_is(kept, folder)
            opener.open(f"{case.name}: {arguments[0]}", folder, arguments, case.codes or CODES)
            if state_of(outside) != before:
                opener.problems.append(f"{case.name}: {arguments[0]}: changed what lies outside")
                fresh(outside, make_outside)
            shutil.rmtree(folder, ignore_errors=True)
    if (here / "imported").exists():
        opener.problems.append("a canary was imported")
    found = {
        "cases": len(cases[::every]),
        "commands": sum(opener.codes.values()),
        "codes": opener.codes,
        "slowest": opener.slowest,
        "largest": opener.largest,
        "problems": opener.problems,
    }
    print(json.dumps(found))


def copy_as_it_is(source: Path, target: Path) -> None:
    """Copy a folder with its links, pipes and holes."""
    target.mkdir()
    for path in source.rglob("*"):
        new, about = target / path.relative_to(source), path.lstat()
        if path.is_symlink():
            new.symlink_to(path.readlink())
        elif path.is_dir():
            new.mkdir()
        elif path.is_fifo():
            os.mkfifo(new)
        elif path.is_socket():
            os.mknod(new, about.st_mode)
        elif about.st_size > 1 << 26:  # a file of holes: its beginning is all that it has
            with path.open("rb") as start, new.open("wb") as stream:
                stream.write(start.read(1 << 20))
                stream.truncate(about.st_size)
        else:
            shutil.copyfile(path, new)


if __name__ == "__main__":
    main(int(sys.argv[1]))
