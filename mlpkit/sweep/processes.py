"""Trains each job in a fresh process, several at a time.

A pool, such as joblib's, keeps its processes for the next jobs, and breaks as a whole where one is killed.
Here a job that ends its process (`os._exit`, a segmentation fault, the system when memory runs out) ends
nothing else, and leaves nothing behind for the next one.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

import torch

from mlpkit.config.plugins import Parcel
from mlpkit.errors import ConfigError, MlpkitError, RunInterruptedError, WriteError
from mlpkit.sweep import fork_server
from mlpkit.sweep.job import is_fresh, last_line, outcome
from mlpkit.sweep.work import Work
from mlpkit.system.device import cores, limit_threads

TICK = 0.2  # seconds until a signal to this process is seen


@dataclass(frozen=True)
class Worker:
    """The process of a job.

    Attributes:
        place: among the processes that run at a time.
        number: of the job.
        process: which is running.
    """

    place: int
    number: int
    process: BaseProcess


def processes(work: Work, workers: int | None = None) -> None:
    """Train each job in a process of its own.

    Args:
        work: what to train.
        workers: processes at a time; None takes the number of cores.

    Raises:
        RunInterruptedError: somebody wished to stop; the processes have saved what they had, and have ended.
    """
    places = min(workers or cores(), len(work.entries))
    work.display.begin_apart(len(work.entries), places)
    _Processes(work, places).run()
    work.wish.check()


class _Processes:
    def __init__(self, work: Work, places: int) -> None:
        self.work, self.waiting = work, list(reversed(work.entries))
        self.free = list(reversed(range(places)))
        self.threads = max(1, cores() // max(1, places))
        self.context = fork_server.context()
        self.running: dict[Any, Worker] = {}  # by their pipes, whose type differs between systems
        self.told = False  # the processes that they are to stop

    def run(self) -> None:
        try:
            while self.running or (self.waiting and not self.told):
                if self.work.wish.signal_number is not None and not self.told:
                    self._tell()
                while self.waiting and self.free and not self.told:
                    self._start(self.waiting.pop())
                self.work.display.show_running(len(self.running))
                # A pipe ends when its process does, even where the server has been killed.
                for pipe in wait(list(self.running), TICK):
                    self._end(pipe)
        finally:
            for worker in self.running.values():  # a second Ctrl-C
                worker.process.kill()

    def _tell(self) -> None:
        self.told = True
        for worker in self.running.values():
            worker.process.terminate()

    def _start(self, number: int) -> None:
        place = self.free.pop()
        pipe, sender = self.context.Pipe(duplex=False)
        try:
            is_fresh(self.work, number)
            parcel = Parcel((self.work.config(number), self.work.origin_of(number)))
            arguments = (parcel, place, self.threads, sender)
            process = self.context.Process(target=_train, args=arguments)
            process.start()
        except (MlpkitError, OSError, EOFError) as error:  # too many processes, or the server was killed
            pipe.close()
            self.free.append(place)
            failure = error if isinstance(error, MlpkitError) else WriteError(f"cannot be started ({error})")
            self.work.ended(number, failure)
        else:
            self.running[pipe] = Worker(place, number, process)
        finally:
            sender.close()

    def _end(self, pipe: Any) -> None:
        worker = self.running[pipe]
        try:
            reason = pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            reason = how_it_ended(worker.process.exitcode or 0)
        worker.process.join()
        worker.process.close()
        pipe.close()
        del self.running[pipe]
        self.free.append(worker.place)
        if reason is None:
            self.work.ended(worker.number, None)
        elif not self.told and self.work.wish.signal_number is None:  # which a terminal tells all of them
            self.work.ended(worker.number, MlpkitError(reason))


def how_it_ended(code: int) -> str:
    """Return what is known of a process that has not said it itself.

    Args:
        code: its exit code; of a process that a signal ended, minus the signal.
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    memory = ", which the system sends where memory runs out" if name == "SIGKILL" else ""
    return f"killed by {name}{memory}"


# ----------------------------------------------------------------------------------- in a job's process


def _train(parcel: Parcel, place: int, threads: int, sender: Connection) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    limit_threads(threads)
    try:
        config, origin = parcel.open()
        if config.device in ("auto", "cuda"):
            _take_device(place)
        reason = outcome(config, origin)
    except (ConfigError, RunInterruptedError) as error:
        reason = last_line(error)
    with suppress(BrokenPipeError):  # nobody listens any more
        sender.send(reason)


def _end_with_parent() -> None:
    """Let the run save and end where the sweep's process has been killed."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _take_device(place: int) -> None:
    """Let this process see one CUDA device, another one than its neighbour does, where there are several."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = list(map(str, range(torch.cuda.device_count()))) if seen is None else seen.split(",")
    if len(devices) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[place % len(devices)]
