"""Bad clients, newer checkpoints and signals while a server answers others: nobody loses a request."""

import json
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from serving import Server, serving

from mlpkit.folders import checkpoint

ROW = json.dumps([{"x1": 0.3, "x2": 0.5}])
IN_TIME = 3.0  # seconds, on a machine that others use too; on an idle one it is some hundredths
HEAD = b"POST /predict HTTP/1.1\r\nhost: localhost\r\n"


def be_impatient() -> None:
    """Give clients half a second for a request and one for an answer, and few connections."""
    from mlpkit.deploy import limits

    limits.READING_SECONDS, limits.ANSWER_SECONDS, limits.MOST_CONNECTIONS = 0.5, 1.0, 40


def have_a_short_queue() -> None:
    from mlpkit.deploy import limits

    limits.MOST_WAITING = 2
    from mlpkit.deploy import batching

    batching.WINDOW = 0.5


class Client:
    """Sends requests one after another over one connection, and keeps what is answered."""

    def __init__(self, server: Server) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.slowest = 0.0  # seconds
        self._port, self._stop, self._began = server.port, threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._stop.is_set():
            start = time.perf_counter()
            connection.request("POST", "/predict", ROW)
            response = connection.getresponse()
            self.answers.append((response.status, json.loads(response.read())))
            self.slowest = max(self.slowest, time.perf_counter() - start)
            self._began.set()
        connection.close()

    def __enter__(self) -> "Client":
        self._thread.start()
        assert self._began.wait(30)  # so that its connection is there before those of others
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def answered(server: Server) -> Iterator[Client]:
    """Check that a client, who does nothing wrong, gets one prediction after another in time."""
    with Client(server) as client:
        yield client
    assert len(client.answers) > 10
    assert {status for status, _ in client.answers} == {200}
    assert client.slowest < IN_TIME


def last_words(client: socket.socket) -> bytes:
    """Return what the server sends until it closes the connection."""
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@pytest.mark.long
def test_slow_clients_are_cut_and_others_answered(trained: dict[str, Path], tmp_path: Path) -> None:
    with serving(tmp_path, trained["moons"], prepare=be_impatient) as server, answered(server):
        with server.connect() as silent:
            assert b"slow: a request must be there within" in last_words(silent)
        with server.connect() as in_the_head:
            in_the_head.sendall(HEAD)
            assert last_words(in_the_head).startswith(b"HTTP/1.1 408 ")
        with server.connect() as in_the_body:
            in_the_body.sendall(HEAD + b"content-length: 100\r\n\r\n[")
            assert b"its body did not come within" in last_words(in_the_body)
        with server.connect() as endless:
            endless.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
            with pytest.raises(OSError, match=r"."):
                for _ in range(100_000):
                    endless.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
        gone = server.connect()
        gone.sendall(HEAD + b"content-length: 100\r\n\r\n[")
        gone.close()


@pytest.mark.long
def test_a_client_that_takes_no_answer_is_cut(trained: dict[str, Path], tmp_path: Path) -> None:
    rows = "x1,x2\n" + "0.5,0.25\n" * 10_000
    head = HEAD + f"content-length: {len(rows)}\r\n\r\n".encode()
    with serving(tmp_path, trained["moons"], prepare=be_impatient) as server, answered(server):
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", server.port))
        with deaf, pytest.raises(OSError, match=r"."):
            while True:  # ends when the server has cut the connection
                deaf.sendall(head + rows.encode())


@pytest.mark.long
def test_large_requests_leave_others_their_turn(trained: dict[str, Path], tmp_path: Path) -> None:
    """Each is read, computed and written in parts or beside others; meanwhile the others are answered."""
    rows = json.dumps([{"x1": 0.3, "x2": 0.5}] * 10_000)
    with serving(tmp_path, trained["moons"]) as server:
        answer = server.predict(ROW).json["predictions"]
        with answered(server) as client, ThreadPoolExecutor(3) as clients:
            before = len(client.answers)
            large = list(clients.map(server.predict, [rows, "x" * (5 << 20), rows, "[" * 100_000, rows]))
            assert len(client.answers) - before > len(large)
        assert [of.status for of in large] == [200, 413, 200, 400, 200]
        assert all(of.json["predictions"] == answer * 10_000 for of in large[::2] if of.status == 200)


@pytest.mark.long
def test_many_connections_and_garbage_harm_nobody(trained: dict[str, Path], tmp_path: Path) -> None:
    with serving(tmp_path, trained["moons"], prepare=be_impatient) as server, answered(server):
        crowd = [server.connect() for _ in range(60)]
        said = Counter(last_words(one)[9:12] for one in crowd)
        assert said[b"503"] >= 20
        assert said[b"408"] + said[b"503"] == 60
        for garbage in (
            b"\0" * 5000,
            b"GET /\r\n\r\n",
            b"A" * 200_000,
            HEAD + b"content-length: -1\r\n\r\n",
        ):
            with server.connect() as client:
                client.sendall(garbage)
                assert last_words(client)[:12] in (b"HTTP/1.1 400", b"")
        for one in crowd:
            one.close()


@pytest.mark.long
def test_too_many_requests_are_told_to_come_again(trained: dict[str, Path], tmp_path: Path) -> None:
    with serving(tmp_path, trained["moons"], prepare=have_a_short_queue) as server:
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda _: server.predict(ROW), range(8)))
        assert {answer.status for answer in answers} == {200, 503}
        refused = next(answer for answer in answers if answer.status == 503)
        assert refused.headers["retry-after"] == "1"
        assert "busy: " in refused.json["error"]
        assert server.predict(ROW).status == 200


@pytest.mark.long
def test_a_newer_checkpoint_is_taken_without_a_lost_request(trained: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained["moons"], run)
    best = run / "checkpoints" / "best.safetensors"
    stored = checkpoint.load(best, checkpoint.KINDS)
    with serving(tmp_path, run) as server:
        old = server.predict(ROW).json
        with answered(server) as client:
            best.write_bytes(b"damaged")
            while (
                "not a checkpoint" not in server.running.stderr() and "damaged" not in server.running.stderr()
            ):
                assert server.predict(ROW).json == old
            for tensor in stored.state.model.values():
                tensor.mul_(0.5)
            stored.state.progress.epoch += 1
            checkpoint.save(best, stored)
            while server.ask("/health").json["epoch"] == old["epoch"]:
                pass
            new = server.predict(ROW).json
        assert new["epoch"] == old["epoch"] + 1 and new["predictions"] != old["predictions"]
        assert all(answer in (old, new) for _, answer in client.answers)
        assert server.metric("mlpkit_model_reloads_total") == 1


@pytest.mark.long
def test_a_checkpoint_of_another_dataset_is_not_taken(trained: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained["moons"], run)
    with serving(tmp_path, run) as server:
        assert server.predict(ROW).status == 200
        shutil.copy(trained["line"] / "checkpoints" / "best.safetensors", run / "checkpoints")
        while "stop the server and start it anew" not in server.running.stderr():
            assert server.predict(ROW).status == 200


@pytest.mark.long
def test_a_run_that_is_gone_is_said_and_one_in_its_place_taken(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained["moons"], run)
    with serving(tmp_path, run) as server, answered(server):
        epoch = server.ask("/health").json["epoch"]
        gone = f"warning: {run}: the checkpoint is gone (the model of epoch {epoch} stays)\n"
        shutil.rmtree(run)
        while server.running.stderr() != gone:
            assert server.predict(ROW).status == 200
        shutil.copytree(trained["moons"], tmp_path / "new")
        (tmp_path / "new").rename(run)
        while f"now the model of epoch {epoch}: {run}" not in server.running.stderr():
            assert server.predict(ROW).status == 200
        assert server.running.stderr().startswith(gone)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_cuts_requests_short(
    number: signal.Signals, trained: dict[str, Path], tmp_path: Path
) -> None:
    with serving(tmp_path, trained["moons"]) as server, server.connect() as client:
        client.sendall(HEAD + b"content-length: 100\r\n\r\n[")
        while server.metric("mlpkit_open_requests") < 1:
            pass
        server.running.send(number)
        while _listens(server):
            pass
        server.running.send(number)
        said = last_words(client)
        assert said.startswith(b"HTTP/1.1 503 ")
        assert said.endswith(b'{"error": "the server was stopped; ask again when it is back"}')
        assert server.running.wait() == 0
        assert server.running.stderr() == "warning: 1 request cut short\n"


def _listens(server: Server) -> bool:
    try:
        server.connect().close()
    except OSError:
        return False
    return True


@pytest.mark.sampled(2)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_that_are_there_are_answered_before_the_end(
    number: signal.Signals, trained: dict[str, Path], tmp_path: Path
) -> None:
    body = ROW.encode()
    with serving(tmp_path, trained["moons"]) as server:
        clients = [server.connect() for _ in range(8)]
        for client in clients:
            client.sendall(HEAD + f"content-length: {len(body)}\r\n\r\n".encode() + body[:5])
        while server.metric("mlpkit_open_requests") < 8:
            pass
        server.running.send(number)
        for client in clients:
            client.sendall(body[5:])
            assert last_words(client).startswith(b"HTTP/1.1 200 OK\r\n")
            client.close()
        assert server.running.wait() == 0
        assert server.running.stderr() == ""


@pytest.mark.long
def test_memory_does_not_grow(trained: dict[str, Path], tmp_path: Path) -> None:
    with serving(tmp_path, trained["moons"]) as server:

        def ask(count: int) -> float:
            connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
            for number in range(count):
                connection.request("POST", "/predict", ROW if number % 3 else "broken")
                connection.getresponse().read()
            connection.close()
            return server.metric("process_resident_memory_bytes")

        before = ask(500)
        assert ask(2000) - before < 2e6
