"""mlpkit serve: the same numbers as mlpkit predict, over HTTP."""

import csv
import io
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from browser import in_browser
from PIL import Image
from running import train
from serving import CITIES, Server, rows_of, serving

from mlpkit.cli.main import run as command

Served = dict[str, tuple[Path, Server]]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table with numbers, categories, yes and no, dates and missing values."""
    folder, draw = tmp_path_factory.mktemp("table"), random.Random(0)
    lines = ["age,income,city,member,since,plan"]
    for _ in range(200):
        income = "" if draw.random() < 0.2 else f"{draw.uniform(10, 90):.2f}"
        since = f"20{draw.randint(10, 24)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}"
        member, plan = draw.choice(("yes", "no")), draw.choice(("basic", "plus", "<b>all</b>"))
        lines.append(f"{draw.randint(18, 90)}.5,{income},{draw.choice(CITIES)},{member},{since},{plan}")
    (folder / "people.csv").write_text("\n".join(lines))
    options = (f"dataset.path={folder / 'people.csv'}", "dataset.target=plan", "model=mlp")
    return train(folder, "dataset=table", *options, "trainer.epochs=3", "run.plots=false").path


@pytest.fixture(scope="module")
def served(
    trained: dict[str, Path], table: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server of each kind of run, with its folder."""
    folder = tmp_path_factory.mktemp("served")
    runs = {**trained, "table": table}
    with (
        serving(folder, runs["line"]) as line,
        serving(folder, runs["moons"]) as moons,
        serving(folder, runs["digits"]) as digits,
        serving(folder, runs["table"]) as people,
    ):
        servers = {"line": line, "moons": moons, "digits": digits, "table": people}
        yield {name: (run, servers[name]) for name, run in runs.items()}


def predicted(folder: Path, run: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what `mlpkit predict` says of rows in a JSON file."""
    source, output = folder / "rows.json", folder / "predictions.jsonl"
    source.write_text(json.dumps(rows))
    assert command(["predict", str(run), "--input", str(source), "--output", str(output)]) == 0
    return [json.loads(line) for line in output.read_text().splitlines()]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["line", "moons", "digits", "table"])
def test_numbers_are_those_of_predict_to_the_bit(name: str, served: Served, tmp_path: Path) -> None:
    run, server = served[name]
    rows = rows_of(name, 70)
    wanted = predicted(tmp_path, run, rows)
    whole = server.predict(rows)
    assert whole.status == 200, whole.text
    assert whole.json["predictions"] == wanted
    single = [server.predict(row if name != "digits" else [row]).json["predictions"] for row in rows[:5]]
    assert [found for (found,) in single] == wanted[:5]


@pytest.mark.parametrize("name", ["moons", "table"])
def test_requests_that_are_computed_together_do_not_change_each_other(
    name: str, served: Served, tmp_path: Path
) -> None:
    run, server = served[name]
    rows = rows_of(name, 300)
    wanted = predicted(tmp_path, run, rows)
    parts, start = [], 0
    for size in (1, 1, 2, 100, 3, 1, 64, 65, 1, 2, 60):
        parts.append(slice(start, start + size))
        start += size
    assert start == 300
    passes = server.metric("mlpkit_forward_passes_total")
    with ThreadPoolExecutor(len(parts)) as clients:
        answers = list(clients.map(lambda part: server.predict(rows[part]), parts))
    for part, answer in zip(parts, answers, strict=True):
        assert answer.json["predictions"] == wanted[part]
        of_cities = sum(row.get("city") == "Paris" for row in rows[part])
        assert answer.json["unseen"] == ({"city": of_cities} if of_cities else {})
    assert server.metric("mlpkit_forward_passes_total") - passes < len(parts)
    assert server.metric("mlpkit_forward_rows_total") >= 300


def test_csv_is_read_and_answered(served: Served, tmp_path: Path) -> None:
    run, server = served["table"]
    rows = rows_of("table", 9)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    answer = server.predict(text.getvalue(), {"content-type": "text/csv", "accept": "text/csv"})
    (tmp_path / "rows.csv").write_text(text.getvalue())
    output = tmp_path / "out.csv"
    assert command(["predict", str(run), "--input", str(tmp_path / "rows.csv"), "--output", str(output)]) == 0
    assert answer.text == output.read_text()
    assert int(answer.headers["mlpkit-missing"]) == sum(row["income"] is None for row in rows)
    assert int(answer.headers["mlpkit-unseen"]) == sum(row["city"] == "Paris" for row in rows)


def test_missing_and_unseen_values_are_counted(served: Served) -> None:
    _, server = served["table"]
    row = {"age": "41", "income": None, "city": "Paris", "member": "maybe", "since": "2020-01-31", "x": 1}
    found = server.predict([row, {**row, "income": 3, "city": "Rome"}]).json
    assert (found["missing"], found["unseen"]) == ({"income": 1}, {"city": 1, "member": 2})
    assert found["notes"][0] == "request: not read: x"
    assert "request: column city: 1 not seen in training, such as 'Paris'" in found["notes"]
    text = server.ask("/metrics").text
    assert 'mlpkit_unseen_values_total{column="member"}' in text


def test_a_picture_is_read(served: Served, tmp_path: Path) -> None:
    run, server = served["digits"]
    picture = tmp_path / "digit.png"
    Image.new("L", (8, 8), 40).save(picture)
    output = tmp_path / "out.jsonl"
    assert command(["predict", str(run), "--input", str(picture), "--output", str(output)]) == 0
    wanted = json.loads(output.read_text())
    del wanted["file"]
    assert server.predict(picture.read_bytes()).json["predictions"] == [wanted]
    Image.new("L", (9, 8)).save(picture)
    refused = server.predict(picture.read_bytes())
    assert (refused.status, refused.json["error"]) == (
        400,
        "request: 9×8 pixels, the model reads grayscale 8×8; resize it",
    )


@pytest.mark.parametrize(
    ("name", "body", "status", "error"),
    [
        ("moons", "", 400, "request: empty; send rows as JSON or csv"),
        ("moons", "[", 400,
         "request: not valid JSON (Expecting value: line 1 column 2 (char 1)); correct it"),
        ("moons", b"\xff\xfe", 400, "request: not UTF-8 at byte 0; save it as UTF-8 text"),
        ("moons", [], 400, 'request: no rows; write a list of objects such as {"x1": 0.5, "x2": 0.5}'),
        ("moons", [{"x1": 1}], 400, "request: columns missing: x2; it has x1, the model reads x1, x2"),
        ("moons", [{"x1": 1, "x2": None}], 400,
         "request: row 1: column x2: no value; fill it in or remove the row"),
        ("moons", '[{"x1": 1, "x2": 1e400}]', 400,
         "request: row 1: column x2: inf is not a finite float32 (at most 3.4028235e+38)"),
        ("moons", [{"x1": 3e38, "x2": 3e38}], 400,
         "request: row 1: the prediction is not a finite number; correct or remove the row"),
        ("moons", "[" * 100_000, 400, "request: not valid JSON (nested too deep); correct it"),
        ("moons", b"x" * (5 << 20), 413, "request: larger than 4 MB; send the rows in parts"),
        ("moons", "x1,x2\n" + "0,1\n" * 10_001, 413,
         "request: 10,001 rows; at most 10,000 in one, send several"),
        ("table", b"\x89PNG", 400,
         "request: a PNG picture, but the model reads a table; send rows as JSON or csv"),
        ("table", [{"age": 1}], 400,
         "request: columns missing: income, city, member, since; it has age; add them "
         "(a value may be left empty)"),
        ("table", [{"age": "old", "income": 1, "city": "", "member": True, "since": "2020-01-01"}], 400,
         "request: row 1: column age: 'old' is not a plain number such as 0.5; correct it, leave it empty, "
         "or name it in dataset.missing"),
    ],
)  # fmt: skip
def test_what_is_no_row_gets_a_line(name: str, body: object, status: int, error: str, served: Served) -> None:
    answer = served[name][1].predict(body)
    assert (answer.status, answer.json) == (status, {"error": error})


def test_other_paths_methods_kinds_and_options_get_a_line(served: Served) -> None:
    _, server = served["moons"]
    found = {
        "/nothing": server.ask("/nothing"),
        "GET": server.ask("/predict"),
        "kind": server.predict("x", {"content-type": "multipart/form-data; boundary=x"}),
        "header": server.ask("/predict?header=perhaps", "x"),
        "pixels": server.ask("/predict?pixels=0", "x"),
        "unknown": server.ask("/predict?rows=2", "x"),
        "chosen": server.ask("/predict?header=false", "0.5,0.25\n"),
        "for pictures": server.ask("/predict?pixels=255", "x1,x2\n0,1\n"),
    }
    assert {name: (of.status, of.json.get("error")) for name, of in found.items()} == {
        "/nothing": (404, "Not Found: a path is one of those of GET /docs"),
        "GET": (405, "Method Not Allowed: this path takes POST"),
        "kind": (415, "content-type multipart/form-data: send rows as application/json or text/csv"),
        "header": (400, "?header=perhaps: must be true or false"),
        "pixels": (400, "?pixels=0: must be the largest possible pixel, such as 255"),
        "unknown": (400, "?rows: unknown; known are header, pixels and invert"),
        "chosen": (200, None),
        "for pictures": (
            400,
            "--pixels=255: the model does not read pictures, but the columns x1, x2; leave it out",
        ),
    }  # fmt: skip


def test_what_is_not_http_gets_a_line(served: Served) -> None:
    with served["moons"][1].connect() as client:
        client.sendall(b"\x16\x03\x01\x00\xa5 hello\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answer.endswith(
        b'{"error": "not a request of HTTP/1.1; send POST /predict with rows as JSON or csv"}'
    )


def test_the_schema_says_what_rows_have(served: Served) -> None:
    schema = served["table"][1].ask("/schema").json
    row = schema["$defs"]["row"]
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert row["required"] == list(row["properties"]) == ["age", "income", "city", "member", "since"]
    assert row["properties"]["income"] == {"type": ["number", "null"]}
    assert sorted(row["properties"]["city"]["examples"]) == sorted(CITIES)
    pixels = served["digits"][1].ask("/schema").json["$defs"]["row"]
    assert (pixels["minItems"], pixels["items"]) == (64, {"type": "number", "minimum": 0, "maximum": 1})


@pytest.mark.parametrize("name", ["line", "digits", "table"])
def test_openapi_describes_every_path(name: str, served: Served) -> None:
    _, server = served[name]
    document = server.ask("/openapi.json").json
    for path, methods in document["paths"].items():
        for method in methods:
            assert server.ask(path, method=method.upper()).status in (200, 400)
    parts = document["components"]["schemas"]
    used = {
        part["$ref"].removeprefix("#/components/schemas/") for part in _objects(document) if "$ref" in part
    }
    assert used == {"row", "answer", "error"} == set(parts)
    page = server.ask("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "/predict" in page.text and "http-equiv" not in page.text


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inside in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(inside)


def test_health_and_metrics(served: Served) -> None:
    _, server = served["line"]
    assert server.ask("/health").json == {"status": "ok", "epoch": 2}
    before = server.metric("mlpkit_rows_total")
    server.predict([{"x": 1}, {"x": 2}])
    server.predict("broken")
    assert server.metric("mlpkit_rows_total") == before + 2
    text = server.ask("/metrics").text
    assert 'mlpkit_requests_total{path="/predict",status="400"}' in text
    assert 'mlpkit_prediction_seconds_bucket{le="+Inf"}' in text
    assert all(line.startswith("#") or float(line.rsplit(" ", 1)[1]) >= 0 for line in text.splitlines())


def test_without_a_token_only_this_machine_may_ask(served: Served) -> None:
    """By its own names: not a page of the web whose name was made to mean 127.0.0.1."""
    _, server = served["moons"]
    row = {"x1": 0, "x2": 0}
    for host, status in (("localhost:1", 200), ("[::1]:80", 200), ("evil.example", 403), ("10.0.0.1", 403)):
        assert server.predict(row, {"host": host}).status == status


@pytest.mark.long
def test_the_form_predicts_in_a_browser(served: Served, tmp_path: Path) -> None:
    _, server = served["table"]
    row = {"age": "41", "income": "", "city": "Oslo", "member": "true", "since": "2020-01-31"}
    query = "&".join(f"{name}={value}" for name, value in row.items())
    page = in_browser(server.port, f"/?{query}", tmp_path)
    assert "<h1>people: plan</h1>" in page
    wanted = server.predict([{name: value or None for name, value in row.items()}]).json["predictions"][0]
    shown = wanted["class"].replace("<", "&lt;").replace(">", "&gt;")
    assert f'<p class="said">{shown}</p>' in page
    assert page.count('class="share"') == 3
    assert "column income: 1 missing" in page
    assert "<b>all</b>" not in page  # a name is text, not a part of the page
    shared = in_browser(server.port, "/?age=41&city=Berlin&member=no&since=2020-01-31&income=1", tmp_path)
    assert "column city: 1 not seen in training, such as 'Berlin'" in shared
    assert "column member" not in shared  # no is false, as in a file
    broken = in_browser(server.port, "/?age=old&city=Oslo&member=true&since=2020-01-31", tmp_path)
    assert "'old' is not a plain number" in broken.split('class="error"')[1]


@pytest.mark.long
def test_forms_of_numbers_and_pictures_in_a_browser(served: Served, tmp_path: Path) -> None:
    page = in_browser(served["line"][1].port, "/?x=0.5", tmp_path)
    value = served["line"][1].predict({"x": 0.5}).json["predictions"][0]["y"]
    assert f'<p class="said">y: {value}</p>' in page
    assert '<input type="file"' in in_browser(served["digits"][1].port, "/", tmp_path)
