"""mlpkit serve: who may ask, what it refuses to start with, and how it ends."""

import base64
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Refused
from serving import free_port, serving


def test_a_token_is_asked_for(trained: dict[str, Path], tmp_path: Path) -> None:
    with serving(tmp_path, trained["moons"], "--token", "s3cret-text", "--host", "0.0.0.0") as server:
        row, basic = {"x1": 0, "x2": 0}, base64.b64encode(b"me:s3cret-text").decode()
        refused = server.predict(row)
        assert refused.status == 401
        assert refused.headers["www-authenticate"] == 'Basic realm="mlpkit"'
        assert "Authorization: Bearer TOKEN" in refused.json["error"]
        for header, status in {
            "Bearer s3cret-text": 200,
            f"Basic {basic}": 200,
            "Bearer s3cret": 401,
            "Basic !": 401,
            "Bearer \xff": 401,
            "s3cret-text": 401,
        }.items():
            assert server.predict(row, {"authorization": header, "host": "example.org"}).status == status
        assert server.ask("/").status == 401
        assert server.ask("/health").status == 200


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--host", "0.0.0.0"],
         "--host=0.0.0.0: others could use the model; give --token TEXT (or set MLPKIT_TOKEN), or --no-auth "
         "if they may"),
        (["--token", "short"], "--token: must be 8 or more ASCII characters without spaces"),
        (["--token", "long enough"], "--token: must be 8 or more ASCII characters without spaces"),
        (["--token", "long-enough", "--no-auth"],
         "--no-auth: there is a token (--token or MLPKIT_TOKEN); leave out one of them"),
        (["--host", "no.such.host.invalid", "--no-auth"],
         "--host=no.such.host.invalid: no such host; give an address of this machine, as 127.0.0.1"),
        (["--host", "192.0.2.1", "--no-auth"],
         "--host=192.0.2.1: not an address of this machine (Cannot assign requested address)"),
        (["--checkpoint", "newest"], "--checkpoint=newest: must be best or last"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(options: list[str], error: str, refused: Refused) -> None:
    assert refused("serve", *options, code=2) == error


def test_a_port_in_use_is_refused(refused: Refused) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        line = refused("serve", "--port", str(port), code=2)
    assert line == f"--port={port}: in use by another program; choose another, or 0 for any"


def test_without_the_extra_it_says_how_to_get_it(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert refused("serve", code=2) == "serve: needs starlette and uvicorn; pip install 'mlpkit[serve]'"


def test_no_run_is_refused(refused: Refused) -> None:
    assert "no trained run under outputs/" in refused("serve", "--port", "0", code=65)


def test_it_says_where_it_listens_and_ends_when_asked(trained: dict[str, Path], tmp_path: Path) -> None:
    """As a user starts it: the line comes before the first request, and SIGTERM and Ctrl-C are no errors."""
    line = ""
    for number in (signal.SIGTERM, signal.SIGINT):
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, "-m", "mlpkit", "serve", str(trained["moons"]), "--port", str(port)],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("serving ") and line.endswith(f" at http://127.0.0.1:{port}\n")
            process.send_signal(number)
            assert process.communicate(timeout=60) == ("stopped\n", "")
            assert process.returncode == 0
        finally:
            process.kill()
