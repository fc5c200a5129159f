"""mlpkit serve under load: requests of one row on loopback, from a client on the same machine."""

import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

RATE = 1000  # requests per second
SLOW_RATE = 300  # of the long load, which leaves the machine to others too
CONNECTIONS = 16
SECONDS = 8.0
MLPKIT = (sys.executable, "-m", "mlpkit")

ROWS: dict[str, dict[str, object]] = {
    "moons": {"x1": 0.3, "x2": 0.5},
    "a table": {"age": 41, "income": 32.5, "since": 2019, "city": "Oslo", "plan": "b", "note": None},
}


def run_serving(repetitions: int) -> dict[str, float]:
    """Print how the server does at RATE, and at most; return the figures for the goals.

    Args:
        repetitions: turns at RATE.
    """
    found: dict[str, float] = {}
    for name, row in ROWS.items():
        body = [json.dumps([row]).encode()]
        with _server(name) as (process, port):
            asyncio.run(_load(port, body, RATE, 2.0))  # warms up
            first = _megabytes(process)
            turns = [asyncio.run(_load(port, body, RATE, SECONDS)) for _ in range(repetitions)]
            most = asyncio.run(_load(port, body, None, SECONDS))
            _show(name, turns, most, first, _megabytes(process))
        found[f"{name}, requests/s"] = statistics.median(len(of) / SECONDS for of in turns)
        found[f"{name}, p99"] = statistics.median(_share(of, 0.99) for of in turns)
    return found


def run_long(minutes: int) -> None:
    """Print the memory of the server at each minute of load, a part of which is broken.

    Args:
        minutes: of load.
    """
    row = ROWS["a table"]
    kinds = ([row], [{**row, "city": "Paris"}], [{**row, "age": "old"}], [row] * 200, {"age": 1})
    bodies = [json.dumps(kind).encode() for kind in kinds]
    with _server("a table") as (process, port):
        print(f"\nserve a table: {SLOW_RATE} requests/s for {minutes} minutes, some of them broken or large")
        print(f"{'minute':>6}{'MB':>9}{'requests':>10}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
        for minute in range(minutes + 1):
            seconds = 60.0 if minute else 5.0  # the first warms it up
            of = asyncio.run(_load(port, bodies, SLOW_RATE, seconds))
            shares = "".join(f"{_share(of, share):>9.2f}" for share in (0.5, 0.99, 1.0))
            print(f"{minute:>6}{_megabytes(process):>9.1f}{len(of):>10,}{shares}", flush=True)


@contextmanager
def _server(name: str) -> Iterator[tuple[int, int]]:
    """Train a model and serve it; yield the number of the process and the port."""
    with tempfile.TemporaryDirectory() as scratch:
        _train(Path(scratch), name)
        process = subprocess.Popen(
            [*MLPKIT, "serve", "--port", "0"], cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            assert process.stdout is not None
            yield process.pid, int(process.stdout.readline().rsplit(b":", 1)[1])
        finally:
            process.terminate()
            process.wait()


def _train(folder: Path, name: str) -> None:
    options = ["dataset=moons"]
    if name != "moons":
        options = ["data=people.csv", "target=stays"]
        lines = [_person(random.Random(number)) for number in range(500)]
        text = "\n".join(["age,income,since,city,plan,note,stays", *lines])
        (folder / "people.csv").write_text(text, encoding="utf-8")
    subprocess.run(
        [*MLPKIT, "train", *options, "model=mlp", "trainer.epochs=20", "run.plots=false"],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def _person(draw: random.Random) -> str:
    note = draw.choice(("", "0.5", "1.5"))
    numbers = f"{draw.randint(18, 90)},{draw.uniform(10, 90):.1f},{draw.randint(1990, 2024)}"
    return (
        f"{numbers},{draw.choice(('Oslo', 'Rome', 'Lima'))},{draw.choice('abc')},{note},{draw.choice('yn')}"
    )


async def _load(port: int, bodies: Sequence[bytes], rate: int | None, seconds: float) -> list[float]:
    """Return the milliseconds of each request.

    With a rate they are sent at even times, and counted from the time at which one should have been sent.
    """
    requests = [
        f"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
        for body in bodies
    ]
    start = time.perf_counter() + 0.05
    counts = [_connection(port, requests, number, start, rate, seconds) for number in range(CONNECTIONS)]
    return [found for of in await asyncio.gather(*counts) for found in of]


async def _connection(
    port: int, requests: Sequence[bytes], number: int, start: float, rate: int | None, seconds: float
) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    wanted = (b"200",) if len(requests) == 1 else (b"200", b"400")
    every = CONNECTIONS / rate if rate else 0.0
    due, found = start + every * number / CONNECTIONS, list[float]()
    while due < start + seconds:
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        writer.write(requests[len(found) % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        assert head[9:12] in wanted, head
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        now = time.perf_counter()
        found.append((now - due) * 1000)
        due = due + every if rate else now
    writer.close()
    return found


def _show(name: str, turns: list[list[float]], most: list[float], first: float, last: float) -> None:
    print(f"\nserve {name}: {CONNECTIONS} connections, one row a request")
    print(f"{'':<24}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for of, title in (*((turn, f"{RATE:,} a second wanted") for turn in turns), (most, "as fast as it can")):
        shares = "".join(f"{_share(of, share):>9.2f}" for share in (0.5, 0.99, 1.0))
        print(f"{title:<24}{len(of) / SECONDS:>12,.0f}{shares}")
    print(f"memory of the server, MB: {first:.1f}, at the end {last:.1f}")


def _share(values: list[float], share: float) -> float:
    """Return the value that this share of the values does not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def _megabytes(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6
