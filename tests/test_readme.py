"""README's commands run, in their order, in one folder; what it says of the tool is true."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import Refused
from guide import PAGES, PROJECT, README, commands

from mlpkit.cli.main import run
from mlpkit.config import search_path

TEXT = README.read_text(encoding="utf-8")


def test_every_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, with few epochs; `make faults` runs the lines as they are, in a shell."""
    monkeypatch.chdir(tmp_path)
    lines = commands(README)
    assert len(lines) > 5
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "mlpkit"
        if arguments[0] == "train":
            arguments += ["trainer.epochs=60", "run.plots=false"]
        code = run([argument.replace("epochs=1200", "epochs=80") for argument in arguments])
        assert code == 0, f"{line}\n{capsys.readouterr().err}"


@pytest.mark.parametrize("page", [README, PROJECT / "docs/guide/configs.md"], ids=lambda page: page.name)
def test_the_errors_are_as_shown(page: Path, refused: Refused) -> None:
    shown = re.search(r"    \$ mlpkit (train .*)\n((?:    mlpkit: .*\n)+)", page.read_text(encoding="utf-8"))
    assert shown is not None
    lines = [line.strip().removeprefix("mlpkit: ") for line in shown[2].splitlines()]
    assert refused(*shown[1].split(), code=2).splitlines() == lines


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= 150


def test_it_names_every_choice() -> None:
    named = TEXT.replace("xavier_*", "`xavier_normal` `xavier_uniform`").replace(
        "kaiming_*", "`kaiming_normal` `kaiming_uniform`"
    )
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", named, re.M))
    groups = search_path.groups([search_path.packaged()])
    assert [name for name in groups if name not in (*rows, "run")] == []
    missing = [
        f"{group}={name}"
        for group, choices in groups.items()
        if group not in ("run", "experiment")
        for name in choices
        if f"`{name}`" not in rows[group]
    ]
    assert missing == []
    assert len(groups["experiment"]) == 12
    assert rows["experiment"].startswith("twelve")


@pytest.mark.parametrize("page", [README, PROJECT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_its_links_lead_somewhere(page: Path) -> None:
    """Those between the guide's pages are checked by mkdocs."""
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    assert len(links) > 2
    assert [link for link in links if not (PROJECT / link).is_file()] == []


def test_no_figure_is_left_out() -> None:
    """A word in capitals that is none of these stands where a figure was to be put."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in (README, *PAGES))
    words = set(re.findall(r"\b[A-Z]{4,}\b", text))
    names = {"FILE", "COLUMN", "FOLDER", "NAME", "COMMAND", "SWEEP", "WORD", "TEXT", "TOKEN"}
    tabs = {"TIME", "SERIES", "CUSTOM", "SCALARS", "IMAGES", "GRAPHS", "CURVES", "HPARAMS"}  # of TensorBoard
    tabs |= {"HISTOGRAMS", "DISTRIBUTIONS"}
    signals = {"SIGTERM", "SIGHUP", "SIGXCPU"}
    assert words <= names | tabs | signals | {
        "MNIST",
        "BEGIN",  # of awk
        "HTML",
        "NULL",
        "CUDA",
        "NCCL",
        "JSON",
        "HTTP",
        "POST",
        "YAML",
        "EPYC",
        "NVIDIA",
        "TFLOP",
        "GFLOP",
        "README",
        "CHANGELOG",
        "CONTRIBUTING",
    }
