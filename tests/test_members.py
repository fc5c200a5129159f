"""Runs with several members: `model.members`."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import rest_long
from conftest import Refused
from exporting import export
from running import content, train
from sklearn.metrics import log_loss

from mlpkit.analysis.predict import load_predictor, members_of
from mlpkit.cli.main import run as command
from mlpkit.data.load import load_dataset
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.training.build import seed_of_member

MOONS = ("dataset=moons", "dataset.noise=0.4", "model=mlp", "model.hidden=[8]")
QUIET = ("run.plots=false", "run.loggers=[]", "trainer.epochs=4")
SMALL = (*MOONS, *QUIET, "model.members=3")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of three members, in batches."""
    return train(tmp_path_factory.mktemp("several"), *SMALL, "trainer.batch_size=64")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "settings",
    [
        (*MOONS, "trainer.batch_size=64", "model.dropout=0.2"),
        ("dataset=diabetes", "model=mlp", "model.hidden=[8]", "scheduler=plateau"),
        (*MOONS, "model.norm=batch", "model.bias=false", "trainer.batch_size=64"),
    ],
)
def test_each_member_is_a_run_with_its_own_seed(settings: tuple[str, ...], tmp_path: Path) -> None:
    """Of the plateau, until the learning rates depend on the scores."""
    together = train(tmp_path, *settings, *QUIET, "model.members=2")
    state = checkpoint.load(together.last).state.model
    for member in range(2):
        seed = f"seed={seed_of_member(0, member)}"
        alone = train(tmp_path, *settings, *QUIET, seed, "trainer.compile=false")
        for name, tensor in checkpoint.load(alone.last).state.model.items():
            torch.testing.assert_close(state[name][member], tensor, rtol=1e-4, atol=1e-5)


def test_the_scores_are_those_of_the_mean_prediction(several: RunFolder) -> None:
    predictor, stored = load_predictor(several.best)
    members, rows = members_of(predictor), load_dataset(stored.config.dataset).splits["val"]
    assert len(members) == 3
    each = [member.predict(rows.inputs).probabilities for member in members]
    mean = np.mean([found.numpy() for found in each if found is not None], 0)
    summary = json.loads(several.summary.read_text())
    assert summary["best"]["val"]["loss"] == pytest.approx(log_loss(rows.targets.numpy(), mean), rel=1e-4)
    assert summary["best"]["val"] == pytest.approx(stored.state.scores["val"])
    assert summary["best"]["value"] == summary["best"]["val"]["accuracy"]
    assert summary["parameters"] == 3 * (3 * 8 + 9)


@pytest.mark.parametrize("batch", ["full", "64"])
def test_a_resumed_run_is_the_same_to_the_bit(batch: str, tmp_path: Path) -> None:
    """From every checkpoint, also in the middle of an epoch."""
    often = ("trainer.checkpoint_every=1steps", "trainer.keep_last=100")
    whole = train(tmp_path, *SMALL, *often, f"trainer.batch_size={batch}")
    wanted = {name: content(getattr(whole, name)) for name in ("last", "best")}
    for path in whole.older()[:3]:
        assert command(["resume", str(path)]) == 0
        assert {name: content(getattr(whole, name)) for name in ("last", "best")} == wanted


def test_a_sweep_trains_runs_of_several_members_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    alone = train(tmp_path, *SMALL, "seed=1")
    assert command(["train", "-m", *SMALL[:-1], "model.members=1,3", "seed=0,1", "run.dir=sweep"]) == 0
    folders = [next(Path("sweep").glob(f"000{job}-*")) for job in (2, 3)]
    runs = [json.loads((path / "summary.json").read_text()) for path in folders]
    assert [run["runs_together"] for run in runs] == [2, 2]
    best = checkpoint.load(folders[1] / "checkpoints/last.safetensors")
    for name, tensor in checkpoint.load(alone.last).state.model.items():
        torch.testing.assert_close(best.state.model[name], tensor, rtol=1e-4, atol=1e-5)
    capsys.readouterr()
    assert command(["compare", "sweep"]) == 0
    assert "members" in capsys.readouterr().out


def test_predict_says_how_far_the_members_are_apart(
    several: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["predict", str(several.path), "--spread", "--values", "0.3,0.5"]) == 0
    row = next(csv.DictReader(capsys.readouterr().out.splitlines()))
    members = members_of(load_predictor(several.best)[0])
    each = [member.predict(torch.tensor([[0.3, 0.5]])).probabilities for member in members]
    chances = [float(found[0, 1]) for found in each if found is not None]
    assert float(row["p(lower)"]) == pytest.approx(np.mean(chances), rel=1e-5)
    assert float(row["spread"]) == pytest.approx(np.std(chances, ddof=1), rel=1e-4)


@pytest.mark.parametrize(
    "format_", rest_long(["python", "state_dict", "torch", "sklearn"], lambda name: name == "python")
)
def test_it_is_exported_as_one_model(format_: str, several: RunFolder, tmp_path: Path) -> None:
    """The export checks its answers against mlpkit's."""
    export(format_, tmp_path / "out", several.path)


@pytest.mark.long
@pytest.mark.parametrize(
    "arguments",
    [("evaluate",), ("inspect",), ("explain", "--row", "1"), ("plot",), ("diagnose",), ("verify",)],
)
def test_other_commands_take_it(
    arguments: tuple[str, ...], several: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = arguments
    assert command([name, str(several.path), *options]) == 0


def test_what_is_refused(refused: Refused) -> None:
    for key in ("film", "histograms"):
        said = refused("train", *SMALL, f"run.{key}=1", code=2)
        assert said == (f"run.{key}=1: is for one network, and the model has 3 (model.members); leave it out")
    said = refused("train", *SMALL, "trainer.compile=true", code=2)
    assert said.startswith("trainer.compile=true: it averages no model.members; ")
    assert refused("train", *SMALL[:-1], "model.members=0", code=2).startswith("model.members=0: ")


def test_a_run_fails_with_one_of_its_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        command(["train", *SMALL, "optimizer=sgd", "optimizer.lr=1e38", "trainer.batch_size=64", "run.dir=a"])
        == 65
    )
    assert "(member " in capsys.readouterr().err
