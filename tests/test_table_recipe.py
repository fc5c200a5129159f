"""experiment=table: what its parts are together; tests/benchmarks/quality measures how good it is."""

import json
from pathlib import Path

import pytest
import torch
from running import config, train

from mlpkit.analysis.evaluate import evaluate
from mlpkit.analysis.predict import load_predictor
from mlpkit.data.load import load_dataset
from mlpkit.folders.checkpoint import load

QUIET = ("run.plots=false", "run.loggers=[]")


@pytest.mark.long
@pytest.mark.parametrize(("dataset", "dropout"), [("breast_cancer", 0.2), ("diabetes", 0.0)])
def test_the_scores_are_those_of_the_saved_averages(dataset: str, dropout: float, tmp_path: Path) -> None:
    """Of members with an embedding, moving averages and folds of their own; dropout suits the task."""
    words = ("experiment=table", f"dataset={dataset}", "trainer.epochs=3", "model.hidden=[16]")
    folder = train(tmp_path, *words, *QUIET)
    summary, stored = json.loads(folder.summary.read_text()), load(folder.last)
    assert getattr(stored.config.model, "dropout", None) == dropout
    splits = load_dataset(config(*words).dataset).splits
    for path, scores in ((folder.last, summary), (folder.best, summary["best"])):
        predictor, _ = load_predictor(path)
        for split in ("val", "test"):
            found = evaluate(predictor.on(splits[split]), split, splits[split]).scores
            assert found == pytest.approx(scores[split], rel=1e-4)
    low, high = summary["final"]["intervals"]["loss"]
    assert low < summary["best"]["test"]["loss"] < high


def test_members_have_the_weights_of_classes_of_all_rows(tmp_path: Path) -> None:
    words = ("experiment=table", "dataset=breast_cancer", "trainer.epochs=1", "model.hidden=[8]")
    folder = train(tmp_path, *words, "trainer.class_weight=balanced", *QUIET)
    targets = load_dataset(config(*words).dataset).splits["val"].targets
    counts = torch.bincount(targets).double()
    expected = (counts.sum() / (2 * counts)).tolist()
    assert load(folder.last).class_weights == pytest.approx(expected)


@pytest.mark.long
def test_it_is_better_than_one_network(tmp_path: Path) -> None:
    for seed in ("0", "1", "2"):
        losses = []
        for name, words in (
            ("recipe", ("experiment=table",)),
            ("mlp", ("model=mlp", "trainer.monitor=loss")),
        ):
            data = ("dataset=breast_cancer", f"dataset.seed={seed}", f"seed={seed}")
            folder = train(tmp_path / f"{name}{seed}", *words, *data, *QUIET)
            losses.append(json.loads(folder.summary.read_text())["best"]["test"]["loss"])
        assert losses[0] < losses[1]
