"""mlpkit serve: who may ask, what it refuses to start with, and how it ends."""

import base64
import json
import re
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import Refused
from faults.processes import run_forked
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
    port = free_port()
    for number, options, address in (
        (signal.SIGTERM, ("--port", str(port)), rf"127\.0\.0\.1:{port}"),
        (signal.SIGINT, ("--port", "0", *(("--host", "::1") if _has_ipv6() else ())), r".*:[1-9]\d+"),
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", "mlpkit", "serve", str(trained["moons"]), *options],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert re.fullmatch(rf"serving .*best\.safetensors \(epoch 2\) at http://{address}\n", line)
            where = urlsplit(line.split(" at ")[1].strip())
            connection = HTTPConnection(str(where.hostname), where.port, timeout=60)
            connection.request("POST", "/predict", '{"x1": 0, "x2": 0}')
            assert connection.getresponse().status == 200
            connection.close()
            process.send_signal(number)
            assert process.communicate(timeout=60) == ("stopped\n", "")
            assert process.returncode == 0
        finally:
            process.kill()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.long
def test_a_model_of_a_plug_in_in_a_folder_that_is_only_read(tmp_path: Path) -> None:
    plugin = str(Path(__file__).with_name("extending") / "residual.py")
    options = ("dataset=moons", "dataset.n=60", "trainer.epochs=1", "run.plots=false", "run.dir=run")
    trained = run_forked(tmp_path, "train", "--plugin", plugin, "model=residual", *options)
    assert trained.returncode == 0, trained.stderr
    files = sorted((tmp_path / "run").rglob("*"), reverse=True)
    for file in files:
        file.chmod(0o555 if file.is_dir() else 0o444)
    before = [(file, file.stat().st_mtime_ns) for file in files]
    try:
        with serving(tmp_path, tmp_path / "run", "--plugin", plugin) as server:
            assert server.predict({"x1": 0, "x2": 0}).status == 200
        without = run_forked(tmp_path, "serve", "run", "--port", "0")
        assert without.returncode == 65 and f"add --plugin {plugin}\n" in without.stderr
        assert [(file, file.stat().st_mtime_ns) for file in files] == before
    finally:
        for file in files:
            file.chmod(0o755)


@pytest.mark.long
def test_an_ensemble_predicts_as_predict_does(tmp_path: Path, refused: Refused) -> None:
    options = ("dataset=moons", "dataset.n=60", "trainer.epochs=1", "run.plots=false")
    trained = run_forked(tmp_path, "train", "-m", *options, "seed=1,2")
    assert trained.returncode == 0, trained.stderr
    (sweep,) = {ledger.parent for ledger in tmp_path.rglob("ledger.sqlite")}
    rows = [{"x1": 0.1 * number, "x2": 0.3} for number in range(70)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    predicted = run_forked(
        tmp_path, "predict", str(sweep), "--ensemble", "--input", "rows.json", "--output", "out.jsonl"
    )
    assert predicted.returncode == 0, predicted.stderr
    wanted = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    with serving(tmp_path, sweep, "--ensemble") as server:
        found = server.predict(rows).json
        assert found["predictions"] == wanted
        assert server.predict(rows[0]).json["predictions"] == wanted[:1]
        assert found["epoch"] is server.ask("/health").json["epoch"] is None
        assert "an ensemble of 2 models" in server.ask("/").text
        assert "mlpkit_model_epoch" not in server.ask("/metrics").text
        assert "mlpkit-epoch" not in server.predict(rows, {"accept": "text/csv"}).headers
    run = str(next(sweep.glob("*/config.yaml")).parent)
    assert "is not a sweep" in refused("serve", run, "--ensemble", "--port", "0", code=2)
