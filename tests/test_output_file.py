"""What --output and --plot-dir may name: never what is read or what a run needs; links and modes stay."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Refused
from running import train

from mlpkit.cli.main import run as command
from mlpkit.folders.output_file import write_output
from mlpkit.system.atomic_write import atomic_write

FEW = ("run.plots=false", "run.tensorboard=false")
ROWS = "x1,x2\n0.5,0.25\n"


@pytest.fixture
def moons(trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a run, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained["moons"], "run")
    return Path("run")


@pytest.mark.parametrize("output", ["in.csv", "./in.csv", "link.csv", "hard.csv", "here/in.csv"])
def test_what_is_read_is_not_written_over(output: str, moons: Path, refused: Refused) -> None:
    Path("in.csv").write_text(ROWS)
    Path("link.csv").symlink_to("in.csv")
    Path("hard.csv").hardlink_to("in.csv")
    Path("here").symlink_to(".")
    arguments = ("predict", str(moons), "--input", "in.csv", "--output", output)
    shown = output.removeprefix("./")
    assert refused(*arguments, code=2) == (f"--output={shown}: is what is read (in.csv); choose another name")
    assert Path("in.csv").read_text() == ROWS


@pytest.mark.long
def test_a_file_that_is_stdin_is_not_written_over(moons: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(ROWS)
    for name in ("-", "/dev/stdin"):
        with (tmp_path / "in.csv").open() as stdin:
            done = subprocess.run(
                [sys.executable, "-m", "mlpkit", "predict", "run", "--input", name, "--output", "in.csv"],
                stdin=stdin, capture_output=True, text=True, cwd=tmp_path,
            )  # fmt: skip
        assert done.returncode == 2
        said = f"is what is read ({'stdin' if name == '-' else name}); choose another name"
        assert done.stderr == f"mlpkit: --output=in.csv: {said}\n"
    assert (tmp_path / "in.csv").read_text() == ROWS


def test_a_picture_of_the_folder_that_is_read_is_not_written_over(moons: Path, refused: Refused) -> None:
    Path("pictures").mkdir()
    Path("pictures/a.png").write_bytes(b"\x89PNG")
    Path("out.csv").symlink_to("pictures/a.png")
    arguments = ("predict", str(moons), "--input", "pictures", "--output", "out.csv")
    assert refused(*arguments, code=2) == (
        "--output=out.csv: is what is read (pictures); choose another name"
    )


@pytest.mark.parametrize(
    ("output", "arguments", "said"),
    [
        ("in.csv", ("--input", "*.csv"), "*.csv"),
        ("data.csv", ("--split", "test"), "data.csv"),
        ("link.csv", ("--split", "test"), "data.csv"),
    ],
)
def test_what_a_pattern_or_the_dataset_names_is_not_written_over(
    output: str, arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    refused: Refused, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    rows = "a,b\n" + "".join(f"{number % 7}.25,{number % 3}.5\n" for number in range(20))
    Path("data.csv").write_text(rows)
    settings = ("dataset=table", "dataset.path=data.csv", "dataset.target=b", "model=linear")
    train(Path("outputs"), *settings, "trainer.epochs=1", "run.dir=outputs/run", *FEW)
    capsys.readouterr()
    Path("in.csv").write_text("a\n1\n")
    Path("link.csv").symlink_to("data.csv")
    before = Path(output).read_text()
    shown = said if "*" in said else str(tmp_path / said)
    assert refused("predict", "outputs/run", *arguments, "--output", output, code=2) == (
        f"--output={output}: is what is read ({shown}); choose another name"
    )
    assert Path(output).read_text() == before
    for _ in range(2):  # the config has decimal: ., which names no folder
        assert command(["predict", "outputs/run", "--split", "test", "--output", "again.csv"]) == 0


def test_another_option_is_named(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    said = refused("data", str(tmp_path / "a.csv"), "--plot", "a.pdf", code=2)
    assert said == "--plot=a.pdf: the ending must be one of .png"


def test_the_checkpoint_is_not_written_over(moons: Path, refused: Refused) -> None:
    shutil.copy(moons / "checkpoints" / "last.safetensors", "model.safetensors")
    Path("out.csv").symlink_to("model.safetensors")
    arguments = ("predict", "model.safetensors", "--values", "1,2", "--output", "out.csv")
    assert refused(*arguments, code=2) == (
        "--output=out.csv: is what is read (model.safetensors); choose another name"
    )


@pytest.mark.parametrize(
    "own",
    ["metrics.jsonl", "config.yaml", "checkpoints/best.safetensors", "checkpoints/new.csv", "plots/new.csv"],
)
@pytest.mark.parametrize("linked", [False, True])
def test_what_a_run_needs_is_not_written_over(own: str, linked: bool, moons: Path, refused: Refused) -> None:
    output = own
    if linked:
        Path("out.csv").symlink_to(moons / own)
        output = "out.csv"
    elif Path(own).suffix in (".csv", ".jsonl"):
        output = str(moons / own)
    else:
        pytest.skip("no file of such an ending is written")
    (moons / "plots").mkdir(exist_ok=True)
    problem = f"--output={output}: belongs to the run {moons.absolute()}; choose another name"
    assert refused("predict", str(moons), "--values", "1,2", "--output", output, code=2) == problem
    assert refused("compare", str(moons), "--output", output, code=2) == problem


def test_pictures_of_a_comparison_do_not_replace_those_of_a_run(moons: Path, refused: Refused) -> None:
    said = refused("compare", str(moons), "--plot-dir", str(moons / "plots"), code=2)
    assert said == f"--plot-dir=run/plots: belongs to the run {moons.absolute()}; choose another name"
    Path("file").write_text("")
    said = refused("compare", str(moons), "--plot-dir", "file", code=2)
    assert said == "--plot-dir=file: is there and no folder; choose another name"


def test_a_new_file_in_a_run_folder_may_be_written(moons: Path) -> None:
    output = moons / "predictions.csv"
    assert command(["predict", str(moons), "--values", "1,2", "--output", str(output)]) == 0
    assert output.is_file()


@pytest.mark.parametrize("target", ["file", "nothing", "link to a file"])
def test_results_go_where_a_link_leads(target: str, moons: Path) -> None:
    (Path("real")).mkdir()
    real, output = Path("real/target.csv").absolute(), Path("out.csv")
    if target != "nothing":
        real.write_text("old")
        real.chmod(0o600)
    if target == "link to a file":
        Path("real/other.csv").symlink_to("target.csv")
        output.symlink_to("real/other.csv")
    else:
        output.symlink_to("real/target.csv")
    assert command(["predict", str(moons), "--values", "1,2", "--output", "out.csv"]) == 0
    assert output.is_symlink() and real.read_text().startswith("label,class,")
    assert real.stat().st_mode & 0o777 == (0o644 if target == "nothing" else 0o600)
    assert command(["compare", str(moons), "--output", "out.csv"]) == 0
    assert output.is_symlink() and real.read_text().startswith("rank,")


def test_a_link_to_itself_or_into_no_folder_is_refused(moons: Path, refused: Refused) -> None:
    Path("loop.csv").symlink_to("loop.csv")
    Path("far.csv").symlink_to("none/out.csv")
    for name, problem in {
        "loop.csv": "is there and no regular file; choose another name",
        "far.csv": "its folder does not exist; make it first",
    }.items():
        said = refused("predict", str(moons), "--values", "1,2", "--output", name, code=2)
        assert said == f"--output={name}: {problem}"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is write-protected for root")
def test_a_write_protected_file_is_kept(moons: Path, refused: Refused) -> None:
    Path("out.csv").write_text("old")
    Path("out.csv").chmod(0o444)
    said = refused("predict", str(moons), "--values", "1,2", "--output", "out.csv", code=2)
    assert said == "--output=out.csv: is write-protected; choose another name"


def test_files_of_a_run_keep_their_mode_and_replace_links(tmp_path: Path) -> None:
    """A run's own files are written beside and renamed: a link in a foreign folder leads nowhere."""
    (tmp_path / "private").write_text("old")
    (tmp_path / "private").chmod(0o640)
    atomic_write(tmp_path / "private", b"new")
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o640
    (tmp_path / "link").symlink_to("private")
    atomic_write(tmp_path / "link", b"newer")
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "private").read_bytes() == b"new"
    write_output(tmp_path / "link", b"newest")
    assert (tmp_path / "link").stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.write_text("old")
    os.chown(path, 12345, 54321)
    path.chmod(0o600)
    write_output(path, b"new")
    about = path.stat()
    assert (about.st_uid, about.st_gid, about.st_mode & 0o777) == (12345, 54321, 0o600)
