"""docs/extending.md: the files on the page are those of tests/extending, and its commands run with them."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mlpkit.cli.main import run as command

FILES = sorted(Path(__file__).with_name("extending").glob("*.py"))
PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
COMMANDS = re.findall(r"^    mlpkit (.*)$", PAGE, re.M)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_page_shows_each_file(file: Path) -> None:
    text = file.read_text()
    assert f"```python\n# {file.name}\n{text}```\n" in PAGE
    assert len(text.splitlines()) < 40
    assert any(f"--plugin {file.name} " in line for line in COMMANDS)


@pytest.mark.long
def test_the_commands_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: Callable[[], None]
) -> None:
    for file in FILES:
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    for line in COMMANDS:
        own()
        assert command(shlex.split(line)) == 0, line
    (run,) = tmp_path.rglob("scores.csv")
    lines = run.read_text().splitlines()
    assert (lines[0], len(lines)) == ("step,split,name,value", 1 + 20 * 2 * 2 + 2)
