"""What the runs that something stops are compared with."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.launched import ARGUMENTS
from faults.processes import end_all, start_fresh
from faults.runs import Uninterrupted, train_uninterrupted

Train = Callable[..., Uninterrupted]


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Train without interruption, once for each command line."""
    done: dict[tuple[str, ...], Uninterrupted] = {}

    def train(arguments: tuple[str, ...], prepare: Callable[[], None] | None = None) -> Uninterrupted:
        if arguments not in done:
            folder = tmp_path_factory.mktemp("uninterrupted")
            done[arguments] = train_uninterrupted(folder, arguments, prepare)
        return done[arguments]

    return train


@pytest.fixture(scope="session")
def local_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of equal jobs in one process, which nothing has stopped."""
    folder = tmp_path_factory.mktemp("local")
    local = start_fresh(folder, "train", "-m", *ARGUMENTS)
    assert local.wait() == 0, local.stderr()
    return folder


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """A process that a failed test leaves behind would wait for its orders for ever."""
    yield
    end_all()
