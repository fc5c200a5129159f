"""A server of a run in a process of its own, and requests to it."""

import json
import random
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from faults.processes import Running, start

CITIES = ("Oslo", "Rome", "Lima")


@dataclass(frozen=True)
class Answer:
    """What the server has answered."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    port: int
    running: Running

    def ask(
        self, path: str, body: object = None, headers: Mapping[str, str] = {}, method: str = ""
    ) -> Answer:
        """Send one request over a connection of its own; a body is text, bytes, or what JSON can hold."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = body if body is None or isinstance(body, str | bytes) else json.dumps(body)
        content = content.encode() if isinstance(content, str) else content
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, content, dict(headers))
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read().decode())
        finally:
            connection.close()

    def predict(self, body: object, headers: Mapping[str, str] = {}) -> Answer:
        return self.ask("/predict", body, headers)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def metric(self, name: str) -> float:
        lines = self.ask("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def serving(
    folder: Path, run: Path, *options: str, prepare: Callable[[], None] | None = None
) -> Iterator[Server]:
    """Serve a run, and end the server afterwards."""
    port = free_port()
    running = start(folder, "serve", str(run), "--port", str(port), *options, prepare=prepare)
    server = Server(port, running)
    try:
        while not _is_up(server):
            assert not running.ended_within(0.01), running.stderr()
        yield server
    finally:
        running.kill()


def _is_up(server: Server) -> bool:
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return False
    return True


def rows_of(name: str, count: int) -> list[dict[str, Any]]:
    """Return invented rows for a run."""
    draw = random.Random(count)
    if name != "table":
        columns = {"line": ["x"], "moons": ["x1", "x2"], "digits": [f"pixel{place}" for place in range(64)]}
        return [{column: round(draw.random(), 3) for column in columns[name]} for _ in range(count)]
    return [
        {
            "age": draw.randint(18, 90),
            "income": draw.choice((None, round(draw.uniform(10, 90), 2))),
            "city": draw.choice((*CITIES, "Paris")),
            "member": draw.choice((True, False)),
            "since": f"2019-{draw.randint(1, 12):02}-03",
        }
        for _ in range(count)
    ]
