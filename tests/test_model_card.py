"""The scores of a model card are those of the model that is exported."""

import shutil
from pathlib import Path

import pytest
from exporting import Models, export

from mlpkit.cli.main import run as command


def card(folder: Path) -> str:
    return (folder / "MODEL_CARD.md").read_text(encoding="utf-8")


def cells(text: str, title: str) -> list[str]:
    """Return the numbers of the row of a table with a title."""
    line = next(line for line in text.splitlines() if line.startswith((f"| {title} |", f"{title}  ")))
    return line.strip("| ").removeprefix(title).replace("|", " ").split()


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert command(["evaluate", *arguments]) == 0
    return capsys.readouterr().out


def looks(root: Path) -> int:
    """Return how many looks at test splits are recorded below a folder."""
    return sum(len(file.read_text().splitlines()) for file in root.rglob("test-looks.jsonl"))


@pytest.mark.long
def test_of_an_ensemble(models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = models.sweep()
    before = looks(models.root)
    export("python", tmp_path / "out", sweep, "--ensemble")
    assert looks(models.root) == before + 1
    text = card(tmp_path / "out")
    said = evaluated(capsys, str(sweep), "--ensemble")
    for title, printed in (("the ensemble of 3", "test"), ("95 % from",) * 2, ("majority",) * 2):
        assert cells(text, title) == cells(said, printed)
    each = [
        evaluated(capsys, str(run)) for run in sorted(sweep.glob("*-*")) if (run / "config.yaml").is_file()
    ]
    losses = sorted(float(cells(of, "test")[0]) for of in each)
    assert len(losses) == 3
    lowest, highest = (cells(text, f"its members, {which}")[0] for which in ("lowest", "highest"))
    assert [float(lowest), float(highest)] == [losses[0], losses[-1]]


def test_with_a_threshold(models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The labels of another threshold have other scores than those in the run's summary."""
    run = models.run("binary")
    export("python", tmp_path / "out", run, "--threshold", "0.55")
    said = evaluated(capsys, str(run), "--threshold", "0.55")
    assert cells(card(tmp_path / "out"), "the model") == cells(said, "test")


def test_of_an_ensemble_without_its_data(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The members' scores are in their summaries."""
    sweep, table = models.sweep(), models.table
    hidden = shutil.move(table, tmp_path / "hidden.csv")
    try:
        export("python", tmp_path / "out", sweep, "--ensemble")
    finally:
        shutil.move(hidden, table)
    text = card(tmp_path / "out")
    assert "The ensemble was not scored: the data was not there when this card was written." in text
    each = [float(cells(evaluated(capsys, str(run)), "test")[0]) for run in sweep.glob("0*")]
    assert float(cells(text, "test: members, highest")[0]) == max(each)
