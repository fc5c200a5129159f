"""Real processes that run mlpkit's commands: forked from one that has imported everything, or fresh ones.

A forked one is a process of its own, which the system kills, stops and locks out like any other; it only
does not import torch anew, which would take ten times as long as what is tested.
"""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import mlpkit.__main__

RUN = "outputs/run"  # the same in each working folder, so that the configs in the checkpoints are equal
COMMON = (f"run.dir={RUN}", "run.resume=auto", "run.plots=false", "run.progress=none")
WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")  # a program that ends also when the tests are killed
LIMIT = 120.0  # seconds after which a process hangs

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(
    [
        "torch._dynamo",  # which an optimizer loads
        "torch.fx.experimental.symbolic_shapes",
        "torch.utils._device",
        "sklearn.datasets.data",
        "sklearn.datasets.descr",
        "tensorboard",
        "mlpkit.cli.main",
        "mlpkit.cli.compose",
        "mlpkit.training.start",
        "mlpkit.data.images",
        "mlpkit.engines.choose",
        "mlpkit.system.event_file",
    ]
)


all_started: list["Running"] = []  # by the test that runs


@dataclass
class Running:
    """A process, and what it has said on stderr."""

    process: ForkServerProcess | subprocess.Popen[bytes]
    errors: Path

    @property
    def number(self) -> int:
        number = self.process.pid
        assert number is not None
        return number

    def ended_within(self, seconds: float) -> bool:
        """Wait for the end, but not longer than that."""
        if isinstance(self.process, ForkServerProcess):
            self.process.join(seconds)
            return self.process.exitcode is not None
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait(self) -> int:
        """Return the exit code as a shell says it: of a process that a signal ended, 128 and the signal."""
        if not self.ended_within(LIMIT):
            self.process.kill()
            raise AssertionError(f"process {self.number} hangs; it said: {self.stderr()}")
        process = self.process
        code = process.exitcode if isinstance(process, ForkServerProcess) else process.returncode
        assert code is not None
        return code if code >= 0 else 128 - code

    def send(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.number, number)

    def kill(self) -> int:
        """End it as kill -9 does, and return the exit code: 137, or what it was where it had ended before."""
        self.process.kill()
        return self.wait()

    def stderr(self) -> str:
        return self.errors.read_text()


def start(folder: Path, *arguments: str, prepare: Callable[[], None] | None = None) -> Running:
    """Run `mlpkit ARGUMENTS` in a forked process.

    Args:
        folder: its working folder.
        arguments: the command line.
        prepare: called in the process before the command.
    """
    errors = _new_file(folder)
    process = forks.Process(target=_command, args=(folder, errors, arguments, prepare))
    process.start()
    return _started(process, errors)


def run_forked(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run `mlpkit ARGUMENTS` in a forked process until it ends; as `subprocess.run` does."""
    with TemporaryDirectory() as scratch:
        files = tuple(Path(scratch, name) for name in ("stdin", "stdout", "stderr"))
        files[0].write_text(stdin)
        process = forks.Process(target=_whole_command, args=(folder, files, arguments, dict(os.environ)))
        process.start()
        code = _started(process, files[2]).wait()
        all_started.pop()
        return subprocess.CompletedProcess(arguments, code, files[1].read_text(), files[2].read_text())


def start_fresh(folder: Path, *arguments: str, before: tuple[str, ...] = ()) -> Running:
    """Run `python -m mlpkit ARGUMENTS`, as a user does; or have another command run it."""
    errors = _new_file(folder)
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "mlpkit", *arguments],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
        )  # fmt: skip
    return _started(process, errors)


def end_all() -> None:
    """Kill what a failed test has left behind."""
    while all_started:
        all_started.pop().kill()


def _started(process: ForkServerProcess | subprocess.Popen[bytes], errors: Path) -> Running:
    all_started.append(Running(process, errors))
    return all_started[-1]


def _new_file(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"stderr-{len(list(folder.glob('stderr-*'))):03d}.txt"
    path.touch()
    return path


def _whole_command(
    folder: Path, files: tuple[Path, ...], arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    os.environ.clear()  # it is that of the test, not that of the server
    os.environ.update(environment)
    for number, path in enumerate(files):
        os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    _begin(folder, arguments)
    mlpkit.__main__.main()


def _command(
    folder: Path, errors: Path, arguments: tuple[str, ...], prepare: Callable[[], None] | None
) -> None:
    from mlpkit.cli.main import run
    from mlpkit.training.stop import leave_at_once

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(errors, os.O_WRONLY), 2)
    _begin(folder, arguments)
    leave_at_once()
    if prepare is not None:
        prepare()
    sys.exit(run(list(arguments)))


def _begin(folder: Path, arguments: tuple[str, ...]) -> None:
    gc.freeze()  # what the fork shares with its parent is no garbage, and need not be looked through
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # heard even where pytest was started with `&`
    sys.argv = ["mlpkit", *arguments]
