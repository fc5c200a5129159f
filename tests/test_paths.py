"""`~` means the home folder in every path that a user gives; caches lie somewhere for everybody."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import Refused
from running import config

from mlpkit.cli.main import run as command
from mlpkit.data.images import default_root
from mlpkit.errors import ConfigError
from mlpkit.folders.new_run import create
from mlpkit.folders.trust import Trust
from mlpkit.system.paths import cache_folder, expand

SMALL = ("trainer.epochs=1", "run.plots=false", "run.tensorboard=false", "run.progress=none")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder beside an empty working directory."""
    folder = tmp_path / "home"
    folder.mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(tmp_path / "here")
    return folder


@pytest.mark.long
def test_every_path_on_the_command_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "configs" / "dataset").mkdir(parents=True)
    (home / "configs" / "dataset" / "few.yaml").write_text("defaults: [line]\nn: 20\n")
    few = ("--config-dir", "~/configs", "dataset=few", "model=linear")
    assert command(["train", *few, *SMALL, "run.root=~/runs", "run.dir=~/runs/a"]) == 0
    assert command(["train", "--config", "~/runs/a/config.yaml", "run.dir=~/runs/b", "seed=1"]) == 0
    assert command(["list", "dataset", "--config-dir", "~/configs"]) == 0
    (home / "in.csv").write_text("x\n1\n")
    assert command(["predict", "~/runs/a", "--input", "~/in.csv", "--output", "~/out.csv"]) == 0
    for name in ("evaluate", "inspect", "plot"):
        assert command([name, "~/runs/a"]) == 0
    assert command(["evaluate", "~/runs/a/checkpoints/last.safetensors", "dataset.noise=1"]) == 0
    assert command(["resume", "~/runs/a", "trainer.epochs=2"]) == 0
    assert command(["compare", "~/runs", "--output", "~/board.csv", "--plot-dir", "~/pictures"]) == 0
    assert command(["train", "-m", *few, *SMALL, "run.root=~/runs", "run.dir=~/runs/s", "seed=0,1"]) == 0
    assert list(Path().iterdir()) == []
    assert {"out.csv", "board.csv", "pictures", "runs"} <= {path.name for path in home.iterdir()}
    assert {path.name for path in (home / "runs").iterdir() if path.is_dir()} == {"a", "b", "s"}
    assert capsys.readouterr().err == ""


@pytest.mark.long
def test_a_run_may_lie_anywhere_where_that_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    small = (*SMALL, "dataset=line", "model=linear")
    run, sweep = tmp_path / "run", tmp_path / "sweep"
    assert command(["train", *small, f"run.dir={run}"]) == 0
    assert command(["resume", str(run), "trainer.epochs=2"]) == 0
    assert command(["train", "-m", *small, f"run.dir={sweep}", "seed=1,2"]) == 0
    shutil.rmtree(next(sweep.glob("0001-*")))
    assert command(["resume", str(sweep)]) == 0
    assert len(list(sweep.glob("*/summary.json"))) == 2
    assert list(Path().iterdir()) == []
    shutil.copy(run / "config.yaml", "mine.yaml")  # which anybody may have written
    shutil.rmtree(run)
    capsys.readouterr()
    for sweeping in ((), ("-m",), ("-m", "--search=random", "--trials=1", "optimizer.lr=0.1,0.2")):
        assert command(["train", *sweeping, "--config", "mine.yaml"]) == 2
        said = f"mlpkit: run.dir={run}: outside run.root=outputs; type run.dir={run} to write there\n"
        assert capsys.readouterr().err == said
    with pytest.raises(ConfigError, match="outside run"):
        create(config("dataset=line", f"run.dir={run}"), Trust.LARGE, ExitStack())
    assert not run.exists()
    assert command(["train", "--config", "mine.yaml", f"run.dir={run}"]) == 0


def test_folders_of_data_and_caches(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPKIT_DATA", "~/data")
    assert default_root() == home / "data"
    monkeypatch.delenv("MLPKIT_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/cache")
    assert default_root() == cache_folder() == home / "cache" / "mlpkit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == home / ".cache" / "mlpkit"


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--config", "{}"),
        ("list", "--config-dir", "{}"),
        ("predict", "{}", "--values", "1"),
        ("compare", "{}"),
        ("train", "dataset=line", "run.root={}"),
        ("train", "dataset=line", "run.dir={}"),
        ("train", "-m", "dataset=line", "seed=0,1", "run.root={}"),
        ("train", "dataset=mnist", "dataset.root={}"),
    ],
)
def test_an_unknown_home_is_one_line(arguments: tuple[str, ...], refused: Refused) -> None:
    said = refused(*(text.format("~no-such-user/x") for text in arguments), code=2)
    assert (
        said == "~no-such-user/x: not a valid path (Could not determine home directory); write the whole path"
    )


def test_only_the_beginning_counts() -> None:
    assert (expand("a/~"), expand("./~")) == (Path("a/~"), Path("~"))
    with pytest.raises(ConfigError, match="not a valid path"):
        expand("~no-such-user")


CAPABILITIES = "+dac_override,+dac_read_search"  # reads this Python, wherever root has put it
UNKNOWN = (
    *("setpriv", "--reuid", "12345", "--clear-groups"),
    *("--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES),
)


@pytest.fixture
def unknown() -> tuple[str, ...]:
    """What a command begins with that a user runs whom the system does not know."""
    try:
        subprocess.run([*UNKNOWN, sys.executable, "-c", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can become another user, by setpriv")
    return UNKNOWN


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder that every user reaches; those of pytest lie in one that is closed."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.long
def test_a_user_without_name_or_home_goes_on(
    unknown: tuple[str, ...], temporary: Path, tmp_path: Path
) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("HOME", "MLPKIT_DATA", "XDG_CACHE_HOME", "USER")
    }
    environment["TMPDIR"] = str(temporary)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*unknown, sys.executable, *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip

    done = run(
        "-m", "mlpkit", "train", "dataset=line", "model=linear", "trainer.epochs=1", "run.progress=none"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.glob("outputs/*/*/plots/curves.png"))
    assert list(temporary.iterdir()) == []  # nothing of matplotlib's either
    cache = temporary / "mlpkit-12345"
    said = f"no home folder: the cache is {cache}; XDG_CACHE_HOME names another\n"
    done = run("-m", "mlpkit", "train", "dataset=mnist", "dataset.download=false")
    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr.startswith(f"{said}mlpkit: dataset=mnist: no files under {cache} and download=false; ")
    assert cache.stat().st_mode & 0o777 == 0o700
    os.chown(cache, 1, 1)  # as if another user had been first
    done = run("-c", "from mlpkit.system.paths import cache_folder; cache_folder()")
    problem = f"{cache}: belongs to another user; set XDG_CACHE_HOME to a folder of yours"
    assert done.stderr.splitlines()[-1] == f"mlpkit.errors.ConfigError: {problem}"
