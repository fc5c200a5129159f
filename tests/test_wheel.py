"""The wheel carries its configs, and finds them from anywhere."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(PROJECT)],
        check=True, capture_output=True,
    )  # fmt: skip
    (path,) = out.glob("*.whl")
    return path


def test_wheel_holds_every_config_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    configs = {
        f"mlpkit/configs/{p.relative_to(PROJECT / 'configs')}" for p in (PROJECT / "configs").rglob("*.yaml")
    }
    assert configs <= set(names)
    assert "mlpkit/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "configs", "outputs"))]


@pytest.mark.long
def test_installed_wheel_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    """Installed without the dependencies, which are lent by this environment: mlpkit itself is not."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(command, check=True, capture_output=True)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    (Path(packages) / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [environment / "bin" / "mlpkit", *arguments],
            cwd=elsewhere,
            capture_output=True,
            text=True,
            env=clean,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "moons" in run("list", "dataset")
    located = [str(environment / "bin" / "python"), "-c", "import mlpkit; print(mlpkit.__file__)"]
    where = subprocess.run(located, cwd=elsewhere, capture_output=True, text=True, env=clean).stdout
    assert where.startswith(packages)
    text = run("train", "experiment=line_exact", "run.plots=false")
    assert "run folder: outputs/line-linear/" in text
