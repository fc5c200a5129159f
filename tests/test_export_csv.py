"""The exported Python script reads csv files as `mlpkit predict` does."""

import subprocess
import sys
from pathlib import Path

import pytest
from exporting import MLP, QUICK, Models, assert_same, export, read_columns
from running import train
from tables import of

from mlpkit.cli.main import run as command

TOWNS = ("Köln", "Ulm")
ROWS = [(f"{i % 7 / 10:.1f}", TOWNS[i % 2], str(i % 2)) for i in range(60)]


def write(path: Path, header: str = "größe,ort,y", separator: str = ",", encoding: str = "utf-8") -> Path:
    lines = ([header] if header else []) + [",".join(row) for row in ROWS]
    text = "\n".join(lines).replace(",", separator)
    path.write_bytes(text.replace(".", "," if separator == ";" else ".").encode(encoding))
    return path


def script(
    folder: Path, content: bytes, *arguments: str, code: int = 0
) -> subprocess.CompletedProcess[bytes]:
    """Run the exported file; content is its stdin."""
    words = [sys.executable, "-I", str(folder / "model.py"), *arguments]
    done = subprocess.run(words, input=content, capture_output=True)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a file in UTF-8 with commas, and its export."""
    root = tmp_path_factory.mktemp("usual")
    run = train(root, *of(write(root / "rows.csv"), target="y"), *MLP, *QUICK).path
    export("python", run / "script", run)
    return run


@pytest.mark.long
@pytest.mark.parametrize(
    ("header", "target", "separator", "encoding"),
    [("", "c3", ",", "utf-8"), ("größe,ort,y", "y", ";", "latin-1"), ("größe,ort,y", "y", "\t", "cp437")],
)
def test_in_the_format_of_the_training_data(
    header: str, target: str, separator: str, encoding: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "rows.csv", header, separator, encoding)
    named = (f"dataset.encoding={encoding}",) if encoding == "cp437" else ()
    run = train(tmp_path, *of(source, target=target), *named, *MLP, *QUICK).path
    export("python", tmp_path / "out", run)
    same(run, tmp_path / "out", source)


@pytest.mark.long
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_in_another_encoding_and_with_another_separator(
    encoding: str, separator: str, usual: Path, tmp_path: Path
) -> None:
    same(usual, usual / "script", write(tmp_path / "rows.csv", separator=separator, encoding=encoding))


@pytest.mark.long
def test_numbers_without_a_header_are_in_the_order_of_the_features(models: Models, tmp_path: Path) -> None:
    run = models.run("relu activation")
    export("python", tmp_path / "out", run)
    for number, content in enumerate(("0.5,1.25\n-1,2\n", "x2,x1\n0.5,1.25\n-1,2\n")):
        source = tmp_path / f"{number}.csv"
        source.write_text(content)
        same(run, tmp_path / "out", source)


def same(run: Path, exported: Path, source: Path) -> None:
    """Check that the script says what predict says of a file, and of the same on stdin."""
    target = source.with_name("predicted.csv")
    assert command(["predict", str(run), "--input", str(source), "--output", str(target)]) == 0
    expected = read_columns(target.read_text(encoding="utf-8"))
    assert_same(read_columns(script(exported, b"", str(source)).stdout.decode()), expected)
    assert_same(read_columns(script(exported, source.read_bytes(), "-").stdout.decode()), expected)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no rows; it must hold a line of column names and a line for each row"),
        ("größe,ort\n".encode(), "no rows; it must hold a line of column names and a line for each row"),
        ("größe,ort\n0.5,Ulm\n1.5\n".encode(), "line 3: 1 values for 2 columns"),
        ("größe,ort,ort\n0.5,Ulm,Ulm\n".encode(), "a column appears twice"),
        ("größe,ort\n0.5,Ul\0m\n".encode(), "a NUL byte, which is not text"),
        ("größe,ort\n0.5,".encode() + b"\xff\n", "not utf-8; save it as UTF-8"),
        (b"a,b\n1,2\n", "column größe is missing (a value may be left empty)"),
    ],
)
def test_what_predict_refuses_is_one_line(
    content: bytes, problem: str, usual: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "rows.csv"
    source.write_bytes(content)
    assert command(["predict", str(usual), "--input", str(source)]) == 65
    said = script(usual / "script", content, "-", code=65)
    assert (said.stderr.decode(), said.stdout) == (f"stdin: {problem}\n", b"")


def test_a_reader_that_stops_early_is_no_error(usual: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-I", str(usual / "script" / "model.py"), "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.write(("größe,ort\n" + "0.5,Ulm\n" * 5000).encode())
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141
