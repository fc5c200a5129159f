"""The README's commands run, in their order, in one folder; what it says of the tool is so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlpkit.cli.main import COMMANDS
from mlpkit.config import search_path

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.S)
LINES = [line for block in BLOCKS for line in block.splitlines() if "mlpkit" in line]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    binary = folder / "bin"
    binary.mkdir()
    script = binary / "mlpkit"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mlpkit "$@"\n')
    script.chmod(0o755)
    return folder


def test_every_command_runs(place: Path) -> None:
    assert len(LINES) > 10
    environment = {**os.environ, "PATH": f"{place / 'bin'}:{os.environ['PATH']}"}
    for line in LINES:
        done = subprocess.run(
            line,
            shell=True,
            executable="/bin/bash",
            cwd=place,
            capture_output=True,
            text=True,
            env=environment,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_the_config_of_the_user_is_found(place: Path) -> None:
    name, content = re.search(r"```yaml\n# (configs/\S+)\n(.*?)```", README, re.S).groups()  # type: ignore[union-attr]
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    command = [
        sys.executable,
        "-m",
        "mlpkit",
        "train",
        "dataset=noisy",
        "trainer.epochs=2",
        "run.plots=false",
    ]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert done.stdout.startswith("moons: binary, 1,200 train, 400 val, 400 test\n"), done.stderr


def test_the_errors_are_as_shown(tmp_path: Path) -> None:
    command, *shown = (
        re.search(r"    \$ (mlpkit train .*\n(?:    mlpkit: .*\n)+)", README).group(1).splitlines()
    )  # type: ignore[union-attr]
    arguments = command.split()[1:]
    done = subprocess.run(
        [sys.executable, "-m", "mlpkit", *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr.splitlines() == [line.strip() for line in shown]
    assert done.returncode == 2


def test_it_names_every_command_recipe_and_picture() -> None:
    assert [name for name in COMMANDS if f"mlpkit {name}" not in README] == []
    recipes = search_path.groups([search_path.packaged()])["experiment"]
    assert [name for name in recipes if f"| `{name}` |" not in README] == []
    assert [path for path in re.findall(r"\]\((docs/\S+)\)", README) if not (PROJECT / path).is_file()] == []


def test_no_figure_is_left_out() -> None:
    """A word in capitals that is none of these stands where a figure was to be put."""
    words = set(re.findall(r"\b[A-Z]{4,}\b", README))
    assert words <= {
        "FILE",
        "MNIST",
        "NAME",
        "SIGTERM",
        "SIGHUP",
        "SIGXCPU",
        "CUDA",
        "JSON",
        "YAML",
        "EPYC",
        "SWEEP",
    }


def test_it_names_every_module() -> None:
    package = PROJECT / "mlpkit"
    modules = {p.name for p in package.glob("*.py")} - {"__init__.py", "__main__.py"}
    folders = {f"{p.parent.name}/" for p in package.glob("*/__init__.py")}
    inside = README.split("## Inside")[1]
    assert [name for name in sorted(modules | folders) if f"`{name}`" not in inside] == []
