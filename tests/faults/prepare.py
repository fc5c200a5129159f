"""What a process is told to do to itself before it runs its command."""

import functools
import signal
from collections.abc import Callable
from multiprocessing.synchronize import Barrier, Event
from typing import Any


def evaluate_in_parts() -> None:
    """Evaluate 64 rows at a time, so that an evaluation of the digits has parts to be stopped between."""
    import mlpkit.engines.engine

    mlpkit.engines.engine.EVALUATION_ROWS = 64


def signal_at(number: int, tick: int) -> None:
    """Send the process a signal when the trainer asks for the tick-th time whether to stop."""
    from mlpkit.training.stop import StopRequest

    check, ticks = StopRequest.check, 0

    def counted(request: StopRequest) -> None:
        nonlocal ticks
        ticks += 1
        if ticks == tick:
            signal.raise_signal(number)
        check(request)

    StopRequest.check = counted  # type: ignore[method-assign]


def interrupt_in_parts(tick: int) -> None:
    """Do both, the signal being SIGTERM."""
    evaluate_in_parts()
    signal_at(signal.SIGTERM, tick)


def hold_at_first_step(reached: Event, resume_run: Event) -> None:
    """Say that a first step has been taken, and wait there."""
    from mlpkit.training.stop import StopRequest

    check = StopRequest.check

    def held(request: StopRequest) -> None:
        if not reached.is_set():
            reached.set()
            resume_run.wait()
        check(request)

    StopRequest.check = held  # type: ignore[method-assign]


def meet(barrier: Barrier, where: str, name: str, resume_run: Event | None = None) -> None:
    """Let several processes call a function at the same time.

    Args:
        barrier: at which they wait for each other.
        where: the module through which the function is called.
        name: of the function.
        resume_run: whoever takes a first step waits for this, so that nobody is done before all have tried.
    """
    import importlib

    module = importlib.import_module(where)
    function: Callable[..., Any] = getattr(module, name)

    @functools.wraps(function)
    def together(*arguments: Any, **options: Any) -> Any:
        barrier.wait()
        return function(*arguments, **options)

    setattr(module, name, together)
    if resume_run is not None:
        from mlpkit.training.stop import StopRequest

        check, wait = StopRequest.check, resume_run.wait

        def held(request: StopRequest) -> None:
            wait()
            check(request)

        StopRequest.check = held  # type: ignore[method-assign]


def die_at(tick: int) -> None:
    """Kill the process, as kill -9 does, at its tick-th step or part of an evaluation."""
    signal_at(signal.SIGKILL, tick)


def die_in(where: str, name: str) -> None:
    """Kill the process, as kill -9 does, when it first calls a function through a module."""
    import importlib

    def die(*arguments: object, **options: object) -> None:
        signal.raise_signal(signal.SIGKILL)

    module = importlib.import_module(where)
    if not hasattr(module, name):
        raise AttributeError(f"{where} does not use {name} any more")
    setattr(module, name, die)
