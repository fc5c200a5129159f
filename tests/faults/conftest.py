"""What the runs that something stops are compared with."""

from collections.abc import Callable, Iterator

import pytest

from faults.processes import end_all
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


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """A process that a failed test leaves behind would wait for its orders for ever."""
    yield
    end_all()
