"""The first process of a run that several train: starts the others, or finds those of torchrun.

It composes the config, has the run folder and the terminal, and writes all files. The others get the config,
and the checkpoint of a resumed run, by torch's store; see `mlpkit.training.follow`.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from mlpkit.config import plugins
from mlpkit.config.config import Config, to_dict
from mlpkit.engines.batches import Share
from mlpkit.engines.engine import Engine
from mlpkit.engines.processes import TIMEOUT, Processes
from mlpkit.errors import ConfigError, LostProcessError
from mlpkit.folders.trust import Trust
from mlpkit.system import launched
from mlpkit.system.device import cores
from mlpkit.training.build import choices_made
from mlpkit.training.stop import StopRequest

JOB, CHECKPOINT = "job", "checkpoint"  # keys in the store
PER_CORE = 4  # the most processes that mlpkit starts for each core
LOOK = 0.02  # seconds between two looks at the other processes
LOOPBACK = ("lo", "lo0")


class Leader:
    """The processes of a run, seen from the first."""

    def __init__(self, processes: Processes, children: Sequence[subprocess.Popen[bytes]]) -> None:
        """Take the processes, and those of them that were started here: all others, or none."""
        self.processes, self.children, self._has_sent = processes, list(children), False
        processes.what_happened = self._what_happened

    def begin(
        self, engine: Engine, config: Config, trust: Trust, stop: StopRequest, saved: Path | None
    ) -> None:
        """Send the others their job, and wait until they are ready.

        Args:
            engine: this process's.
            config: the run's.
            trust: whether the config is the user's own or foreign.
            stop: whose signals all processes are told of from now on.
            saved: the checkpoint to resume from; None for a new run.

        Raises:
            LostProcessError: another process has ended.
            RunInterruptedError: a stop signal arrived.
        """
        store = self.processes.store
        if saved is not None:
            store.set(CHECKPOINT, saved.read_bytes())  # type: ignore[arg-type]
        quiet = {"film": None, "histograms": None, "loggers": (), "plots": False}
        job = {
            "config": to_dict(config.model_copy(update={"run": config.run.model_copy(update=quiet)})),
            "choices": choices_made(engine).to_dict(),
            "trust": trust.name,
            "fingerprint": engine.experiments[0].dataset.fingerprint,
            "resume": saved is not None,
        }
        self._send(job)
        ready = [f"ready/{rank}" for rank in range(1, self.processes.size)]
        while not store.check(ready):
            stop.check()
            if any(child.poll() is not None for child in self.children):
                raise LostProcessError(self._what_happened())
            time.sleep(LOOK)
        stop_together(stop, self.processes)
        self.processes.connect(engine.device)

    def end(self) -> None:
        """End the processes that were started here, and tell others that there is nothing more to do."""
        if not self._has_sent:
            self._send(None)
        for child in self.children:
            child.kill()
        for child in self.children:
            child.wait()

    def _send(self, job: dict[str, object] | None) -> None:
        self.processes.store.set(JOB, json.dumps(job))
        self._has_sent = True

    def _what_happened(self) -> str:
        """Return which process has ended, and how; those that end because of another end with 0."""
        end = time.monotonic() + 2
        while self.children and time.monotonic() < end:
            for number, child in enumerate(self.children, start=2):
                if code := child.poll():
                    how = f"was killed (signal {-code})" if code < 0 else f"ended with exit code {code}"
                    return f"process {number} of {self.processes.size} {how}"
            time.sleep(LOOK)
        return "another process of the training has ended or does not answer"


def stop_together(stop: StopRequest, processes: Processes) -> None:
    """Make a stop request raise only when all processes know of the signal: at the same step in each."""
    processes.signal_here = lambda: stop.signal_number
    stop.decided = lambda: processes.signal


def with_processes(config: Config) -> Config:
    """Return the config with the number of processes that torchrun has started.

    Raises:
        ConfigError: it has another number.
    """
    wanted, size = config.trainer.processes, launched.size()
    if size == 1 or wanted == size:
        return config
    if wanted != 1:
        raise ConfigError(
            f"trainer.processes={wanted}: torchrun has started {size}; leave it out, or start mlpkit alone"
        )
    return config.model_copy(update={"trainer": config.trainer.model_copy(update={"processes": size})})


@contextmanager
def leading(config: Config) -> Iterator[Leader | None]:
    """Start or find the other processes of a run, and end them after the block; None if there are none.

    Raises:
        ConfigError: there are too many for this machine.
    """
    size = config.trainer.processes
    if size == 1:
        yield None
        return
    if launched.size() > 1:
        leader = Leader(join(), ())
    else:
        most = PER_CORE * cores()
        if size > most:
            raise ConfigError(
                f"trainer.processes={size}: this machine has {cores()} cores; choose at most {most}, or "
                "start them on several machines with torchrun"
            )
        leader = _start(size)
    try:
        yield leader
    finally:
        leader.end()


def join() -> Processes:
    """Return the processes that this one was started with, by torchrun or by mlpkit.

    Raises:
        LostProcessError: they are gone.
    """
    rank, size = launched.rank(), launched.size()
    try:
        if launched.starter() is None:
            store, _, _ = next(rendezvous("env://", rank, size, timeout=TIMEOUT))
        else:
            address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            store = TCPStore(*address, size, False, TIMEOUT, wait_for_workers=False)
    except RuntimeError as error:
        raise LostProcessError("the first process of the training has ended") from error
    return Processes(Share(rank, size), store, launched.local_rank(), launched.local_size())


def _start(size: int) -> Leader:
    """Start the other processes on this machine."""
    store = TCPStore("127.0.0.1", 0, size, True, TIMEOUT, wait_for_workers=False)
    names = [name for _, name in socket.if_nameindex() if name in LOOPBACK] if os.name == "posix" else []
    if names:  # Gloo would look the machine's name up, which some machines do not know
        os.environ.setdefault("GLOO_SOCKET_IFNAME", names[0])
    typed = [f"--plugin={plugin.name}" for plugin in plugins.loaded() if plugin.is_typed]
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "mlpkit", "train", *typed],
            env={**os.environ, **launched.variables(rank, size, store.port)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the first process, which tells the others
        )
        for rank in range(1, size)
    ]
    return Leader(Processes(Share(0, size), store, 0, size), children)
