"""On a terminal of 80 columns no line is broken within a word, and no number is cut."""

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from tables import write_csv

from mlpkit.cli.main import run as command

SPECIES = (
    "Adelie Penguin (Pygoscelis adeliae)",
    "Chinstrap penguin (Pygoscelis antarctica)",
    "Gentoo penguin (Pygoscelis papua)",
)
TRAIN = ("train", "data=birds.csv", "target=species", "model=mlp", "trainer.epochs=2", "run.plots=false")


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """See `io.IOBase`."""
        return True


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of long names, and a run on it."""
    folder = tmp_path_factory.mktemp("b")
    random = np.random.default_rng(0)
    rows = [
        {
            "flipper length (mm)": round(180 + 20 * (place % 3) + float(random.normal()), 1),
            "body mass, on the day (g)": "" if place % 8 == 0 else round(float(random.normal(4200, 400))),
            "comments": f"seen by observer {place} on the northern shore",
            "species": SPECIES[place % 3],
        }
        for place in range(90)
    ]
    write_csv(folder / "birds.csv", rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert command([*TRAIN]) == 0
        assert command(["tag", "outputs", "paper"]) == 0
        assert command(["note", "outputs", "the first run of the figure in chapter 3"]) == 0
    return folder


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (TRAIN, "birds: multiclass, 54 train, 18 val, 18 test"),
        (
            ("data", "birds.csv", "--target", "species", "--no-write"),
            "column .* kind .* missing  distinct  values",
        ),
        (("predict", "--input", "birds.csv", "--keep", "comments"), "row .* comments .* class  +probability"),
        (("predict", "--values", "200,4000"), "row  label +class  probability"),
        (("evaluate",), "Chinstrap penguin \\(Pygoscelis a… +0[.].*"),
        (("predict", "outputs", "--values", "200,4000"), r"outputs/\S+: best checkpoint, epoch [12]"),
        (
            ("explain", *TRAIN[1:4], "model.hidden=[7]", "--row", "2"),
            "θ +before +g +exp_avg +exp_avg_sq +after",
        ),
        (("ls",), "  paper  the first run of the figure in chapter 3"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_it_fits(words: tuple[str, ...], line: str, birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(birds)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    stdout, stderr = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", stderr)
    assert command([*words]) == 0, stderr.getvalue()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stdout.getvalue() + stderr.getvalue())
    lines = [part.rstrip() for shown in text.splitlines() for part in shown.split("\r")]
    assert any(re.fullmatch(line, shown) for shown in lines), text
    assert [shown for shown in lines if len(shown) > 80 and not shown.startswith("  mlpkit ")] == []
