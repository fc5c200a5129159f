"""trainer.epochs=0 writes a run of the untrained network, which resume trains."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Refused
from running import content

from mlpkit.cli.main import run as command
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder

SMALL = ("dataset=moons", "model=mlp", "model.hidden=[4]", "run.loggers=[]")
FIRST, WHOLE = RunFolder(Path("outputs/first")), RunFolder(Path("outputs/whole"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def train(folder: RunFolder, *overrides: str) -> None:
    assert command(["train", *SMALL, f"run.dir={folder.path}", *overrides]) == 0


def trained(folder: RunFolder) -> dict[str, Any]:
    """Return what the last checkpoint holds, but for the config's own folder."""
    return {name: part for name, part in content(folder.last).items() if name != "about"}


@pytest.mark.long
def test_it_has_a_checkpoint_scores_and_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    train(FIRST, "trainer.epochs=0")
    printed = capsys.readouterr().out
    assert "\ndone: 0 epochs, 0 steps in 0.00 s" in printed
    assert "\nuntrained: the scores of the first weights; mlpkit resume trainer.epochs=N" in printed
    stored = checkpoint.load(FIRST.last, checkpoint.KINDS)
    assert (stored.state.progress.step, stored.state.optimizer) == (0, {})
    summary = json.loads(FIRST.summary.read_text())
    assert summary["status"] == "done"
    assert summary["best"]["value"] == summary["val"]["accuracy"]
    assert summary["val"]["loss"] == pytest.approx(0.7, abs=0.2)
    pictures = {path.name for path in FIRST.plots.iterdir()}
    assert pictures == {"boundary.png", "confusion.png", "probabilities.png"}


def test_its_pictures_are_drawn_again_in_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    train(FIRST, "trainer.epochs=0", "run.plots=false")
    capsys.readouterr()
    assert command(["plot", str(FIRST.path), "--picture", "boundary"]) == 0
    assert capsys.readouterr().out.split() == [str(FIRST.plots / "boundary.png")]


def test_best_stands_for_the_newest_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    train(FIRST, "trainer.epochs=0", "run.plots=false")
    for arguments in (["predict", "--values", "0.5,0.5"], ["evaluate", "--split", "val"], ["inspect"]):
        capsys.readouterr()
        assert command([arguments[0], str(FIRST.path), *arguments[1:]]) == 0
        said = capsys.readouterr().err
        assert said == f"{FIRST.path}: no epoch is the best yet; its newest checkpoint is used (epoch 0)\n"


@pytest.mark.parametrize(
    "overrides",
    [(), ("trainer.batch_size=64", "model.dropout=0.2", "scheduler=cosine"), ("model.norm=batch",)],
)
def test_trained_further_it_is_the_run_that_was_trained_at_once(overrides: tuple[str, ...]) -> None:
    train(FIRST, "trainer.epochs=0", "run.plots=false", *overrides)
    assert command(["resume", str(FIRST.path), "trainer.epochs=10"]) == 0
    train(WHOLE, "trainer.epochs=10", "run.plots=false", *overrides)
    assert trained(FIRST) == trained(WHOLE)
    scores = [
        [{**json.loads(line), "seconds": 0} for line in of.metrics.read_text().splitlines()]
        for of in (FIRST, WHOLE)
    ]
    assert scores[0] == scores[1]


def test_its_report_does_not_train_it_for_0_epochs() -> None:
    train(FIRST, "trainer.epochs=0", "run.plots=false")
    assert command(["report", str(FIRST.path)]) == 0
    assert f"mlpkit resume {FIRST.path} trainer.epochs=N<" in FIRST.report.read_text()


def test_a_search_of_untrained_networks(capsys: pytest.CaptureFixture[str]) -> None:
    search = ("--search=random", "--trials=2", "init.name=default,zeros", "run.dir=outputs/search")
    assert command(["train", "-m", *SMALL, "trainer.epochs=0", "run.plots=false", *search]) == 0
    assert "test accuracy" in capsys.readouterr().out


def test_a_sweep_of_untrained_networks(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ("trainer.epochs=0", "init=default,xavier_normal", "seed=0,1", "run.dir=outputs/sweep")
    assert command(["train", "-m", *SMALL, "run.plots=false", *sweep]) == 0
    capsys.readouterr()
    assert command(["compare", "outputs/sweep"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("4 runs, 2 settings: val accuracy")
    assert "\n1 " in printed
    assert "\n2 " in printed


def test_learning_rates_are_not_compared_without_training(refused: Refused) -> None:
    line = "trainer.epochs=0: trains nothing, so no learning rate is better; choose 1 or more"
    assert refused("lr", *SMALL[:3], "trainer.epochs=0", code=2) == line
