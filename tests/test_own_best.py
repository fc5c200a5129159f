"""Members that keep their own best epochs: `trainer.best_epoch=own`."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import Refused
from running import content, train
from torch import nn

from mlpkit.analysis.predict import load_predictor, members_of
from mlpkit.cli.main import run as command
from mlpkit.data.load import load_dataset
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder

SMALL = (
    *("dataset=iris", "model=mlp", "model.hidden=[4]", "model.members=3", "dataset.val_folds=3"),
    *("trainer.batch_size=32", "trainer.monitor=loss", "scheduler=none"),
    *("optimizer.lr=0.1", "run.plots=false", "run.loggers=[]"),
)
OWN = (*SMALL, "trainer.best_epoch=own")
EACH_EPOCH = ("trainer.checkpoint_every=1", "trainer.keep_last=100")


def fold_losses(path: Path) -> list[float]:
    """Return the loss of each member on its fold, with the weights of a checkpoint, by torch alone."""
    predictor, stored = load_predictor(path)
    val = load_dataset(stored.config.dataset).splits["val"]
    rows = (torch.split(of, val.folds) for of in (val.inputs, val.targets))
    parts = zip(members_of(predictor), *rows, strict=True)
    binary = stored.input_schema.task == "binary"
    loss = nn.functional.binary_cross_entropy_with_logits if binary else nn.functional.cross_entropy
    return [float(loss(member.outputs(x), y[:, None].float() if binary else y)) for member, x, y in parts]


def epochs_of(folder: RunFolder) -> list[Path]:
    """Return the checkpoints of all epochs, the first one first."""
    return [*reversed(folder.older()), folder.last]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "more",
    [(), ("trainer.ema=0.9",), ("dataset=breast_cancer", "trainer.batch_size=200")],
    ids=["weights", "averages", "two classes"],
)
def test_each_member_keeps_the_epoch_of_the_lowest_loss_on_its_fold(
    more: tuple[str, ...], tmp_path: Path
) -> None:
    given = {line.partition("=")[0] for line in more}
    chosen = [line for line in OWN if line.partition("=")[0] not in given]
    folder = train(tmp_path, *chosen, "trainer.epochs=12", *EACH_EPOCH, *more)
    epochs = epochs_of(folder)
    losses = torch.tensor([fold_losses(path) for path in epochs], dtype=torch.float64)
    assert losses.shape == (12, 3)
    best = checkpoint.load(folder.best).state.model
    at = losses.argmin(0).tolist()
    assert len(set(at)) > 1
    for member, epoch in enumerate(at):
        for name, tensor in checkpoint.load(epochs[epoch]).state.model.items():
            torch.testing.assert_close(best[name][member], tensor[member], rtol=0, atol=0)
    said = json.loads(folder.summary.read_text())["best"]
    assert said["epoch"] == max(at) + 1
    sizes = torch.tensor(load_dataset(checkpoint.read_header(folder.best).config.dataset).splits["val"].folds)
    wanted = float((losses.min(0).values * sizes).sum() / sizes.sum())
    assert said["value"] == pytest.approx(wanted, rel=1e-5)
    assert said["val"]["loss"] == pytest.approx(wanted, rel=1e-5)
    kept = checkpoint.read_header(folder.best).state.scores["val"]
    assert kept == pytest.approx(said["val"], rel=1e-5)
    values = [checkpoint.read_header(path).state.progress.best_value or 0 for path in epochs]
    assert all(later <= earlier for earlier, later in pairwise(values))


def test_stopping_goes_by_the_loss_of_all_folds(tmp_path: Path) -> None:
    """As without: the weights that are kept do not change what is trained."""
    stopping = ("trainer.epochs=60", "trainer.early_stopping.patience=3")
    own, common = (train(tmp_path, *words, *stopping) for words in (OWN, SMALL))
    for kind in ("model", "optimizer"):
        found, wanted = (getattr(checkpoint.load(of.last, (kind,)).state, kind) for of in (own, common))
        assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in found)
    summaries = [json.loads(of.summary.read_text()) for of in (own, common)]
    assert summaries[0]["epochs"] == summaries[1]["epochs"] < 60
    assert summaries[0]["best"]["value"] < summaries[1]["best"]["value"]


@pytest.mark.long
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path: Path) -> None:
    often = ("trainer.checkpoint_every=2steps", "trainer.keep_last=100", "trainer.steps_per_epoch=3")
    whole = train(tmp_path, *OWN, "trainer.ema=0.9", "trainer.epochs=6", *often)
    wanted = {name: content(getattr(whole, name)) for name in ("last", "best")}
    for path in whole.older()[1::2]:
        assert command(["resume", str(path)]) == 0
        assert {name: content(getattr(whole, name)) for name in ("last", "best")} == wanted


def test_runs_that_are_trained_together_keep_what_each_would_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when one of them stops before the others."""
    monkeypatch.chdir(tmp_path)
    stopping = ("trainer.epochs=40", "trainer.early_stopping.patience=2")
    assert command(["train", "-m", *OWN, *stopping, "seed=0,1,2", "run.dir=sweep"]) == 0
    ended = set()
    for seed, path in enumerate(sorted(Path("sweep").glob("000*"))):
        together, alone = RunFolder(path), train(tmp_path, *OWN, *stopping, f"seed={seed}")
        summaries = [json.loads(of.summary.read_text()) for of in (together, alone)]
        best, wanted = (of["best"] for of in summaries)
        assert best["epoch"] == wanted["epoch"]
        assert [best["value"], best["val"]["loss"]] == pytest.approx([wanted["value"]] * 2, rel=1e-3)
        assert summaries[0]["runs_together"] == 3
        ended.add(summaries[0]["epochs"])
        states = [checkpoint.load(of.best).state.model for of in (together, alone)]
        for name, tensor in states[1].items():
            torch.testing.assert_close(states[0][name], tensor, rtol=1e-3, atol=1e-4)
    assert len(ended) > 1


def test_what_is_refused(tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused("train", "dataset=iris", "model=mlp", "trainer.best_epoch=own", code=2)
    assert said.startswith("trainer.best_epoch=own: each member needs a fold of its own; ")
    others = [word for word in OWN if not word.startswith("trainer.monitor")]
    said = refused("train", *others, "trainer.monitor=accuracy", code=2)
    assert said.startswith("trainer.best_epoch=own: goes by the loss, not by accuracy; ")
    folder = train(tmp_path, *OWN, "trainer.epochs=2")
    stored = checkpoint.load(folder.last, checkpoint.KINDS)
    stored.state.progress.member_sums.pop()
    checkpoint.save(folder.last, stored)
    capsys.readouterr()
    assert command(["resume", str(folder.last), "trainer.epochs=3"]) == 65
    assert "the best scores of its members are missing" in capsys.readouterr().err


def test_the_last_epoch_counts_as_the_best(tmp_path: Path) -> None:
    """Though the loss grows; early stopping goes by the best monitored score."""
    given = (*SMALL[:2], "trainer.best_epoch=last", "optimizer.lr=1", "run.plots=false", "run.loggers=[]")
    folder = train(tmp_path, *given, "trainer.epochs=30", "trainer.early_stopping.patience=4")
    summary = json.loads(folder.summary.read_text())
    losses = [
        line["loss"]
        for line in map(json.loads, folder.metrics.read_text().splitlines())
        if line["split"] == "val"
    ]
    assert summary["best"]["epoch"] == summary["epochs"] == len(losses) < 30
    assert summary["best"]["val"]["loss"] == losses[-1] > min(losses)
    best, last = (checkpoint.load(path).state.model for path in (folder.best, folder.last))
    assert all(torch.equal(best[name], tensor) for name, tensor in last.items())
