"""Asks peers in turn, so that all of them see the same noise of the machine."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")
PAUSE = 0.1  # seconds between two peers: some libraries' threads spin a while before they sleep


class PeerError(Exception):
    """A peer cannot take part; says why."""


@dataclass(frozen=True)
class Entry:
    """A peer of a comparison.

    Attributes:
        module: in `peers`.
        overrides: of mlpkit's command line: data, model, optimizer, batches.
    """

    module: str
    overrides: tuple[str, ...]


@dataclass
class Measured:
    """What the peers of a comparison did.

    Attributes:
        rates: counts per second by peer, one for each turn.
        losses: the last one that each peer reported.
        disturbed: turns of each peer in which other programs computed too.
        skipped: peers that took no part, and why.
    """

    rates: dict[str, list[float]] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    disturbed: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def median(self, peer: str) -> float:
        """Return a peer's median rate."""
        return statistics.median(self.rates[peer])

    def ratio(self, ours: str, theirs: str) -> float:
        """Return how many times as fast one peer is as another: the median of the turns' ratios."""
        return ratio(self.rates[ours], self.rates[theirs])


def ratio(numerators: list[float], denominators: list[float]) -> float:
    """Return the median of the ratios of what was measured in the same turn."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


class Peer:
    """The other end of a worker."""

    def __init__(self, entry: Entry) -> None:
        """Start it."""
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the peer
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), entry.module, *entry.overrides],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            bufsize=1,
        )

    def wait(self) -> None:
        """Wait until it is set up and warm.

        Raises:
            PeerError: it cannot take part.
        """
        if (answer := self._answer()) != "ready":
            raise PeerError(answer)

    def train(self) -> tuple[float, float, bool]:
        """Let it train a portion; return its rate, its loss, and whether other programs computed meanwhile.

        Raises:
            PeerError: it has died.
        """
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        answer = json.loads(self._answer())
        return answer["count"] / answer["seconds"], answer["loss"], answer["disturbed"]

    def close(self) -> None:
        """End it."""
        self.process.communicate()
        self.errors.close()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        if line := self.process.stdout.readline():
            return line.strip()
        self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines()
        raise PeerError(f"failed: {said[-1] if said else 'without a word'}")


def measure(entries: Mapping[str, Entry], repetitions: int) -> Measured:
    """Return the rates of some peers, asked in turn."""
    found = Measured()
    with ExitStack() as stack:
        peers = {}
        for name, entry in entries.items():  # one after another: they would slow each other's set-up down
            peer = stack.enter_context(_started(entry))
            try:
                peer.wait()
            except PeerError as error:
                found.skipped[name] = str(error)
            else:
                peers[name] = peer
                found.rates[name] = []
        for turn in range(repetitions):
            for name, peer in _in_turn(list(peers.items()), turn):
                time.sleep(PAUSE)
                rate, found.losses[name], disturbed = peer.train()
                found.disturbed[name] = found.disturbed.get(name, 0) + disturbed
                found.rates[name].append(rate)
    return found


def _in_turn(peers: list[tuple[str, Peer]], turn: int) -> list[tuple[str, Peer]]:
    """Return the peers in a turn's order: nobody is always the first, nor always behind the same one."""
    first = turn % max(1, len(peers))
    order = [*peers[first:], *peers[:first]]
    return order[::-1] if turn % 2 else order


@contextmanager
def _started(entry: Entry) -> Iterator[Peer]:
    peer = Peer(entry)
    try:
        yield peer
    finally:
        peer.close()
