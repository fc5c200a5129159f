"""`dataset.clip_predictions`: predictions of a regression stay within the range of the training targets."""

import csv
from pathlib import Path

import pytest
import torch
from engines import KINDS, engine_of, network_of
from running import config, train

from mlpkit.cli.main import run as command
from mlpkit.data.load import load_dataset

DATA = ("dataset=diabetes", "model=linear")


@pytest.mark.parametrize("more", [(), ("dataset.target_transform=log",), ("dataset.standardize=false",)])
def test_outputs_are_clipped_after_they_are_converted(more: tuple[str, ...]) -> None:
    """The loss is computed before, so that gradients stay what they are."""
    clipped, plain = (
        engine_of(KINDS[1], *DATA, *more, f"dataset.clip_predictions={clips}") for clips in ("true", "false")
    )
    targets = clipped.experiments[0].dataset.splits["train"].targets
    inputs = 100 * torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = (network_of(engine)(inputs) for engine in (clipped, plain))
    least, most = targets.min(), targets.max()
    assert (expected < least).any() or (expected > most).any()
    torch.testing.assert_close(found, expected.clamp(least, most))
    for engine in (clipped, plain):
        engine.step(next(engine.rows_of_steps(0, 0)), [0.01], 0, 0, measure=True)
    assert torch.equal(clipped.gradients, plain.gradients)


def test_a_checkpoint_holds_the_range(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All outputs of a network of zeros are 0: each prediction is the least target."""
    options = ("dataset.standardize=false", "dataset.clip_predictions=true", "trainer.epochs=0")
    options = (*options, "init=zeros")
    run, found = train(tmp_path, *DATA, *options, "run.plots=false"), tmp_path / "p.csv"
    assert command(["predict", str(run.path), "--split", "test", "--output", str(found)]) == 0
    targets = load_dataset(config(*DATA).dataset).splits["train"].targets
    with found.open() as file:
        predicted = {float(row["progression"]) for row in csv.DictReader(file)}
    assert predicted == {targets.min().item()}
    capsys.readouterr()
    assert command(["inspect", str(run.path), "--weights"]) == 0
    assert "least" in capsys.readouterr().out


def test_classes_are_not_clipped() -> None:
    """A recipe for tables of all tasks can say it."""
    engine = engine_of(KINDS[1], "dataset=iris", "model=logistic", "dataset.clip_predictions=true")
    assert isinstance(network_of(engine).unscaling, torch.nn.Identity)
