"""In a foreign folder nothing of it is run, and no name of it reaches the terminal raw."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from mlpkit.cli.main import run as command
from mlpkit.folders.environment import git_commit
from mlpkit.folders.looks import NAME, record_look
from mlpkit.system.plain_json import read_object

T = (
    "dataset=moons", "model=mlp", "model.hidden=[4]", "trainer.epochs=2", "run.plots=false",
    "run.progress=none", "run.tensorboard=false",
)  # fmt: skip
SWEEP = ("train", "-m", *T, "seed=0,1", "run.dir=outputs/sweep")
OTHERS = (
    *("torch", "numpy", "yaml", "hydra", "omegaconf", "pydantic", "typer", "rich", "sklearn", "scipy", "PIL"),
    *("submitit", "cloudpickle", "matplotlib", "tensorboard", "google", "mlpkit"),
)
ESCAPE = "\x1b[31mred\nline"
NAMELESS = (("evaluate", "RUN"), ("watch", "RUN"))  # which show no name of a folder


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Mlpkit's script, as pip installs it."""
    script = tmp_path / "bin" / "mlpkit"
    script.parent.mkdir()
    lines = (
        "import sys",
        "from mlpkit.__main__ import main",
        "if __name__ == '__main__':",
        "    sys.exit(main())",
    )
    script.write_text("\n".join(lines))
    return script


@pytest.mark.long
def test_modules_of_the_working_directory_are_not_imported(installed: Path, tmp_path: Path) -> None:
    """Each of Python's own modules, and of the libraries, lies there, and would leave a file."""
    here, ran = tmp_path / "here", tmp_path / "ran"
    here.mkdir()
    for name in {*sys.stdlib_module_names, *OTHERS}:
        (here / f"{name}.py").write_text(f"import os\nos.close(os.open({str(ran)!r}, os.O_CREAT))\n")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for arguments in (
        ("train", "-m", *T, "seed=0", SWEEP[-1], "--launcher=processes"),
        ("resume", "outputs/sweep", "--launcher=slurm", "--slurm=cluster=local"),
    ):
        line = [sys.executable, installed, *arguments]
        done = subprocess.run(line, cwd=here, env=clean, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        for summary in here.glob("outputs/sweep/0000-*/summary.json"):
            shutil.rmtree(summary.parent)  # there is something left to do
    assert not ran.exists()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One whose hooks leave a file that is called `ran`."""
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    hook.chmod(0o755)
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "somebody")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    Path("file").write_text("1")
    Path(".gitattributes").write_text("file filter=own")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=x")
    for name in ("post-index-change", "fsmonitor-watchman"):
        shutil.copy(hook, f".git/hooks/{name}")
    git("config", "core.fsmonitor", str(hook))
    return folder


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    ("change", "mark"),
    [
        (lambda hook: None, ""),
        (lambda hook: os.utime("file", (1, 1)), ""),
        (lambda hook: Path("file").write_text("2"), "-dirty"),
        (lambda hook: git("config", "filter.own.clean", str(hook)), "-unchecked"),
    ],
    ids=["clean", "touched", "changed", "filtered"],
)
def test_git_runs_nothing(
    change: Callable[[Path], object], mark: str, repository: Path, tmp_path: Path
) -> None:
    commit = git("rev-parse", "HEAD")
    change(tmp_path / "hook")
    (tmp_path / "ran").unlink(missing_ok=True)
    git_commit.cache_clear()
    assert git_commit() == commit + mark
    assert not (tmp_path / "ran").exists()


def test_git_is_asked_for_own_runs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "git").write_text("#!/bin/sh\ntouch asked\nexit 1\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    git_commit.cache_clear()
    assert command([*SWEEP, "run.film=1"]) == 0
    Path("asked").unlink()  # it was asked
    for summary in Path("outputs/sweep").glob("*/summary.json"):
        shutil.rmtree(summary.parent)
    git_commit.cache_clear()
    assert command(["resume", "outputs/sweep"]) == 0
    assert not Path("asked").exists()
    git_commit.cache_clear()


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "RUN", "--split", "test", "--output", f"{ESCAPE}.csv"),
        ("plot", "RUN"),
        ("inspect", "RUN"),
        ("evaluate", "RUN"),
        ("explain", "RUN"),
        ("watch", "RUN"),
        ("watch", "SWEEP"),
        ("report", "RUN"),
        ("film", "RUN"),
        ("film", "SWEEP"),
        ("resume", "RUN"),
        ("compare", "RUN", "--output", f"{ESCAPE}.md"),
        ("resume", "SWEEP"),
        ("resume", "SEARCH"),
        ("list", "--config-dir", "DIR"),
        ("doctor",),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_no_name_reaches_the_terminal_raw(
    arguments: tuple[str, ...],
    wild: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(wild)
    monkeypatch.setenv("MLPKIT_DATA", ESCAPE)
    names = {name: f"{ESCAPE}/{name.lower()}" for name in ("RUN", "SWEEP", "SEARCH", "DIR")}
    assert command([names.get(argument, argument) for argument in arguments]) == 0
    printed, said = capsys.readouterr()
    lines = (printed + said).splitlines()
    assert [line for line in lines if not line.isprintable()] == []
    assert any(r"\x1b[31mred" in line for line in lines) or arguments in NAMELESS


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a sweep and a search in a folder whose name would colour a terminal."""
    place = tmp_path_factory.mktemp("wild")
    mine = place / "configs" / "optimizer" / f"{ESCAPE}.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("name: sgd\nlr: 0.1\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert command(["train", *T, "run.film=1", "run.dir=outputs/run"]) == 0
        assert command([*SWEEP, "run.film=1"]) == 0
        search = ("--search=random", "--trials=1", "optimizer.lr=0.1,0.2", "run.dir=outputs/search")
        assert command(["train", "-m", *T, *search]) == 0
    shutil.copytree(place / "configs", place / "outputs" / "dir")
    (place / "outputs").rename(place / ESCAPE)
    return place


@pytest.mark.long
def test_names_that_are_not_utf_8_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run, sweep = "outputs/run\udcff", "outputs/sweep\udcff"
    assert command(["train", *T[:-1], f'run.dir="{run}"']) == 0
    assert command(["resume", run, "trainer.epochs=3"]) == 0
    assert read_object(Path(run, "summary.json"))["epochs"] == 3
    assert Path(run, "command.txt").read_bytes().count(b"\n") == 2
    assert command(["train", "--config", f"{run}/config.yaml", "run.dir=null"]) == 0
    assert command(["predict", run, "--split=test", "--output", "out\udcff.csv"]) == 0
    assert Path("out\udcff.csv").read_text().count("\n") == 101
    assert command([*SWEEP[:-1], f'run.dir="{sweep}"']) == 0
    for summary in Path(sweep).glob("*/summary.json"):
        shutil.rmtree(summary.parent)
    assert command(["resume", sweep]) == 0
    assert command(["compare", sweep, "--output", "table\udcff.csv", "--plot"]) == 0
    assert command(["inspect", run]) == 0
    rows = pyarrow.table({"a": [0.5, 1.5, 2.5, 3.5, 4.5] * 4, "b": [0.5, 2.5] * 10})
    pyarrow.csv.write_csv(rows, "rows.csv")
    pyarrow.parquet.write_table(rows, "rows.parquet")
    pyarrow.feather.write_feather(rows, "rows.feather")
    for path in Path().glob("rows.*"):
        data = path.rename(f"\udcff{path.name}")
        assert command(["train", f"data={data}", "target=b", "model=linear", *T[3:-1]]) == 0
    printed, said = capsys.readouterr()
    assert all(line.isprintable() for line in (printed + said).splitlines())
    assert "outputs/run\\udcff" in printed
    assert command(["train", *T, 'run.root="a\ud800"']) == 2


def test_a_foreign_root_far_above_a_run_is_not_written_to(tmp_path: Path) -> None:
    run = tmp_path / "a" / "b" / "c" / "d" / "run"
    run.mkdir(parents=True)
    problems: list[str] = []
    record_look(run, str(tmp_path), "", "mlpkit evaluate", problems.append)
    assert not list(tmp_path.rglob(NAME)) and not problems
    record_look(run, str(tmp_path / "a"), "", "mlpkit evaluate", problems.append)
    assert list(tmp_path.rglob(NAME)) == [tmp_path / "a" / NAME] and not problems
