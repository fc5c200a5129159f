"""Each command in a process of its own, as a user runs it."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cases import rest_long
from real_data import real_data
from running import mlpkit

from mlpkit.cli.main import COMMANDS

SLOW = ("lr", "fit", "send", "data", "resume", "train", "film", "fork", "versus", "plot", "importance")

DRAWN = {"torch", "numpy", "matplotlib", "PIL", "tensorboard"}
BARE = ("trainer.epochs=1", "run.plots=false", "run.tensorboard=false")
HEAVY = (
    *("torch", "torch._dynamo", "torchvision", "sympy", "numpy", "pandas", "scipy", "sklearn"),
    *("matplotlib", "PIL", "tensorboard", "tensorflow", "optuna", "sqlalchemy", "cmaes"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of `sum`, and a newer one of `moons`."""
    folder = tmp_path_factory.mktemp("place")
    mlpkit("train", "experiment=sum", "run.plots=false", cwd=folder)
    mlpkit("train", "dataset=moons", "model=mlp", "trainer.epochs=200", "run.film=50", cwd=folder)
    return folder


@pytest.mark.sampled(7)
@pytest.mark.parametrize("name", rest_long(COMMANDS, lambda name: name not in SLOW))
def test_help_shows_an_example_that_works(name: str, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place, tmp_path / "copy")  # some of them train
    text = mlpkit(name, "--help", cwd=tmp_path / "copy").stdout
    example = COMMANDS[name][1]
    assert example in " ".join(text.split())
    if name == "serve":  # ends when it is asked to; tests/test_serve.py starts it
        return
    mlpkit(
        *example.split()[1:],
        *(["trainer.epochs=3"] if name in ("train", "fit", "lr", "versus") else []),
        cwd=tmp_path / "copy",
    )


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        (["--help"], set()),
        pytest.param(["--version"], set(), marks=pytest.mark.long),
        pytest.param(["list"], set(), marks=pytest.mark.long),
        pytest.param(["list", "model"], set(), marks=pytest.mark.long),
        (["config"], set()),
        pytest.param(["config", "--explain"], set(), marks=pytest.mark.long),
        pytest.param(["completion", "bash"], set(), marks=pytest.mark.long),
        pytest.param(["train", "optimizer.lr=-1"], set(), marks=pytest.mark.long),
        (["train", "dataset=sum", "trainer.epochs=1", "run.plots=0", "run.tensorboard=0"], set()),
        (["inspect", "RUN"], {"numpy"}),
        pytest.param(["compare", "RUN"], set(), marks=pytest.mark.long),
        (["report", "RUN"], set()),
        pytest.param(["ls", "RUN", "--output", "x.csv"], set(), marks=pytest.mark.long),
        pytest.param(["diff", "RUN", "RUN"], set(), marks=pytest.mark.long),
        pytest.param(
            ["compare", "RUN", "--metric", "test.accuracy", "--output", "x.csv"],
            set(),
            marks=pytest.mark.long,
        ),
        pytest.param(
            ["compare", "RUN", "--plot-dir", "."],
            {"torch", "numpy", "matplotlib", "PIL"},
            marks=pytest.mark.long,
        ),
        (["train", "dataset=line", "dataset.standardize=true", *BARE], {"torch", "numpy"}),
        pytest.param(
            ["train", "dataset=moons", "model=mlp", "trainer.epochs=1"], DRAWN, marks=pytest.mark.long
        ),
        pytest.param(
            ["train", "dataset=mnist", "model=mlp", "trainer.epochs=1"], DRAWN, marks=pytest.mark.long
        ),
        pytest.param(
            ["predict", "RUN", "--values", "0.3,0.5"], {"torch", "numpy"}, marks=pytest.mark.long
        ),
    ],
)  # fmt: skip
def test_heavy_libraries_load_only_where_used(
    arguments: list[str], loaded: set[str], tmp_path: Path, place: Path
) -> None:
    if "dataset=mnist" in arguments and real_data() is None:
        pytest.skip("needs the real MNIST")
    newest = str(max((place / "outputs" / "moons-mlp").iterdir()))
    arguments = [newest if argument == "RUN" else argument for argument in arguments]
    script = (
        "import sys; from mlpkit.cli.main import run; run(sys.argv[1:]);"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path,
        env={**os.environ, "MLPKIT_DATA": str(real_data() or "")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.splitlines()[-1] == str(sorted(loaded))


def test_piped_training_prints_plain_lines(tmp_path: Path) -> None:
    done = mlpkit(
        "train", "dataset=line", "model=linear", "trainer.epochs=100", "run.plots=false", cwd=tmp_path
    )
    lines = done.stdout.splitlines()
    assert "\x1b" not in done.stdout
    assert lines[0] == "line: regression, 60 train, 20 val, 20 test"
    assert lines[1] == "linear: 2 parameters; loss: mean squared error on a linear output"
    assert lines[2] == "engine: stacked (linear layers, differentiated by hand)"
    assert re.fullmatch(r"device: cpu \(1 thread; no CUDA device was found\)", lines[3])
    assert sum(line.startswith("epoch ") and "/100 " in line for line in lines) == 21
    assert re.fullmatch(r"run folder: outputs/line-linear/\d{8}-\d{6}-[0-9a-f]{6}", lines[-1])
    assert done.stderr == ""


LONG_EPOCHS = ("dataset=digits", "trainer.epochs=40", "trainer.batch_size=8")
SHORT_EPOCHS = ("dataset=moons", "trainer.epochs=2000")


@pytest.mark.long
@pytest.mark.parametrize(
    ("epochs", "options"),
    [(40, LONG_EPOCHS), (2000, SHORT_EPOCHS)],
)
def test_terminal_shows_a_bar_that_fits_80_columns(
    epochs: int, options: tuple[str, ...], tmp_path: Path
) -> None:
    master, slave = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "mlpkit", "train", *options, "run.plots=false"],
        cwd=tmp_path, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(slave)
    text = b""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        ready, _, _ = select.select([master], [], [], 1)
        if not ready:
            continue
        try:
            part = os.read(master, 65536)
        except OSError:  # the process has closed its end
            break
        text += part
    assert process.wait(10) == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.decode())
    bars = [line for line in re.split(r"[\r\n]+", plain) if line.startswith("epoch ") and "━" in line]
    assert bars and max(len(line.rstrip()) for line in bars) <= 76  # and ^C, twice
    said = rf"epoch (\d+)/{epochs} \S+ *loss \d\S* val acc \d\S* lr 0.001 [1-9]\S*/s"
    assert re.match(said, bars[-1]) and bars[-1].startswith(f"epoch {epochs}/")
    between = {int(found[1]) for bar in bars if (found := re.match(said, bar))} - {epochs}
    assert len(between) > 1, "the bar moves while the run does"


def test_inspect_prints_the_learned_sum(place: Path) -> None:
    (run,) = (place / "outputs" / "sum-linear").iterdir()
    text = mlpkit("inspect", str(run), "--checkpoint", "last", cwd=place).stdout
    weights = dict(re.findall(r"^(x1|x2|bias) +(-?[\d.e-]+)$", text, re.M))
    assert abs(float(weights["x1"]) - 1) < 1e-4
    assert abs(float(weights["x2"]) - 1) < 1e-4
    assert abs(float(weights["bias"])) < 1e-4


def test_predict_says_which_run_it_takes(place: Path) -> None:
    done = mlpkit("predict", "--values", "0.5,0.5", cwd=place)
    assert re.match(r"newest run: outputs/moons-mlp/\S+ \(best checkpoint, epoch \d+\)\n", done.stderr)
    header, row = done.stdout.splitlines()
    assert header == "label,class,p(upper),p(lower)"
    label, name, upper, lower = row.split(",")
    assert {"0": "upper", "1": "lower"}[label] == name
    assert float(upper) + float(lower) == pytest.approx(1, abs=1e-6)


def test_predict_reads_stdin_and_ignores_the_target(place: Path) -> None:
    (run,) = (place / "outputs" / "sum-linear").iterdir()
    done = mlpkit("predict", str(run), "--input", "-", cwd=place, stdin="y,x2,x1\n9,0.5,0.25\n9,1,2\n")
    assert done.stdout.splitlines()[0] == "y"
    np.testing.assert_allclose([float(v) for v in done.stdout.split()[1:]], [0.75, 3], atol=1e-5)


def test_predict_split_writes_jsonl(place: Path) -> None:
    (run,) = (place / "outputs" / "sum-linear").iterdir()
    mlpkit("predict", str(run), "--split", "test", "--output", "out.jsonl", cwd=place)
    rows = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    assert len(rows) == 200
    assert max(abs(row["true_y"] - row["y"]) for row in rows) < 1e-5


def test_evaluate_agrees_with_the_summary(place: Path) -> None:
    run = max((place / "outputs" / "moons-mlp").iterdir())
    summary = json.loads((run / "summary.json").read_text())
    text = mlpkit("evaluate", str(run), "--checkpoint", "last", cwd=place).stdout
    assert re.search(rf"^test +\d\S+ +{summary['test']['accuracy']:.4f}$", text, re.M)
    assert "precision" in text and "macro avg" in text
    noisy = mlpkit("evaluate", str(run), "dataset.noise=1.5", "dataset.n=2000", cwd=place).stdout
    accuracy = float(re.search(r"^test +\S+ +(\S+)$", noisy, re.M).group(1))  # type: ignore[union-attr]
    assert accuracy < summary["test"]["accuracy"]


@pytest.mark.long
def test_plot_draws_again(place: Path) -> None:
    run = max((place / "outputs" / "moons-mlp").iterdir())
    for picture in (run / "plots").iterdir():
        picture.unlink()
    printed = mlpkit("plot", str(run), cwd=place).stdout.split()
    names = ["curves.png", "boundary.png", "confusion.png", "probabilities.png"]
    assert [Path(line).name for line in printed] == names
    assert all((place / line).is_file() for line in printed)


@pytest.mark.long
def test_config_explains_each_value(tmp_path: Path) -> None:
    mine = tmp_path / "configs" / "dataset"
    mine.mkdir(parents=True)
    (mine / "mine.yaml").write_text("# My moons\ndefaults: [moons]\nnoise: 0.3\n")
    text = mlpkit("config", "dataset=mine", "optimizer.lr=0.01", "--explain", cwd=tmp_path).stdout
    rows = {line.split()[0]: re.split(r"  +", line.strip()) for line in text.splitlines()}
    assert rows["optimizer.lr"] == ["optimizer.lr", "0.01", "command line: optimizer.lr=0.01"]
    assert rows["dataset.noise"] == ["dataset.noise", "0.3", f"{mine / 'mine.yaml'}"]
    assert rows["dataset.n"] == ["dataset.n", "500", "configs/dataset/moons.yaml"]
    assert (
        "mine           My moons (configs/dataset/mine.yaml)"
        in mlpkit("list", "dataset", cwd=tmp_path).stdout
    )


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = mlpkit("train", "optimizer.lr=abc", "--debug", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "mlpkit: optimizer.lr='abc': must be a number > 0 or auto (learning rate; default \"auto\")"
    )


@pytest.mark.long
def test_doctor_finds_the_data(tmp_path: Path) -> None:
    text = mlpkit("doctor", cwd=tmp_path, MLPKIT_DATA=str(tmp_path)).stdout
    assert re.search(r"^torch +\d", text, re.M)
    assert re.search(rf"^mnist +not in {tmp_path} \(missing 4 of 4 files\)", text, re.M)


@pytest.mark.long
def test_a_reader_that_leaves_is_no_error(place: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m mlpkit predict --split train | head -n 1; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", cwd=place, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
